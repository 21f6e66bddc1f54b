// Kernels. Python does them on the CPU and reports each by pretended_launch; one of torch's own that arrives here is
// refused by its name, as nobody would do its work, unless Python only wants to see its arguments.
#include <cstdio>
#include <cstring>
#include <unordered_map>

#include "runtime.h"

namespace pretended {

// Filled while the libraries are loaded, before anything else of this file.
static std::unordered_map<const void*, const char*>& kernel_names() {
    static auto* names = new std::unordered_map<const void*, const char*>;
    return *names;
}

// What Python looks at: the second argument of torch's kernels that draw random numbers, at::PhiloxCudaState.
constexpr size_t PHILOX_BYTES = 32;
static thread_local unsigned char* philox = nullptr;

static cudaError_t launch(const void* function, void** arguments, cudaStream_t handle) {
    if (cudaError_t error = context()) return error;
    Stream* stream = stream_of(handle, current_device);
    if (stream->capture && stream->capture->invalid) return remembered(cudaErrorStreamCaptureInvalidated);
    auto found = kernel_names().find(function);
    const char* name = found == kernel_names().end() ? "of unknown name" : found->second;
    if (strstr(name, "spin_kernel")) return cudaSuccess;  // torch.cuda._sleep, which does nothing but take time
    if (philox && strstr(name, "distribution_elementwise_grid_stride_kernel")) {
        memcpy(philox, arguments[1], PHILOX_BYTES);
        return cudaSuccess;
    }
    count(std::string("unemulated/") + name);
    fprintf(stderr, "pretended GPU: nobody emulates the kernel %s\n", name);
    return remembered(cudaErrorNotSupported);
}

static std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (char each : text) {
        if (each == '"' || each == '\\') result += '\\';
        result += each;
    }
    return result + '"';
}

}  // namespace pretended

using namespace pretended;

EXPORT void** __cudaRegisterFatBinary(void*) {
    static void* handle[8];
    return handle;
}
EXPORT void __cudaRegisterFatBinaryEnd(void**) {}
EXPORT void __cudaUnregisterFatBinary(void**) {}
EXPORT void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
EXPORT void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, void*, void*, void*, void*,
                                   int*) {
    kernel_names()[function] = name;
}

// What stands between <<< and >>> travels to the launch on a stack of the thread.
struct Configuration {
    dim3 grid, block;
    size_t shared;
    void* stream;
};
static thread_local std::vector<Configuration> configurations;

EXPORT unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
    configurations.push_back({grid, block, shared, stream});
    return 0;
}

EXPORT cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    if (configurations.empty()) return cudaErrorInvalidValue;
    Configuration top = configurations.back();
    configurations.pop_back();
    *grid = top.grid;
    *block = top.block;
    *shared = top.shared;
    *static_cast<void**>(stream) = top.stream;
    return cudaSuccess;
}

EXPORT cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
    *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
    return cudaSuccess;
}

EXPORT cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void** arguments, size_t, cudaStream_t stream) {
    return launch(reinterpret_cast<const void*>(kernel), arguments, stream);
}

EXPORT cudaError_t cudaLaunchKernel(const void* function, dim3, dim3, void** arguments, size_t, cudaStream_t stream) {
    return launch(function, arguments, stream);
}

EXPORT cudaError_t cudaLaunchCooperativeKernel(const void* function, dim3, dim3, void** arguments, size_t,
                                               cudaStream_t stream) {
    return launch(function, arguments, stream);
}

EXPORT cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
    return launch(function, arguments, config->stream);
}

EXPORT cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = 90;
    return cudaSuccess;
}

EXPORT cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

EXPORT cudaError_t cudaKernelSetAttributeForDevice(cudaKernel_t, cudaFuncAttribute, int, int) { return cudaSuccess; }

EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
    *blocks = 2;
    return cudaSuccess;
}

EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t,
                                                                          unsigned) {
    *blocks = 2;
    return cudaSuccess;
}

EXPORT void pretended_set_hooks(RunHook run, ReleaseHook release, TraceHook trace_hook) {
    runtime().run = run;
    runtime().release = release;
    runtime().trace = trace_hook;
}

// Launch kernel number `node` of Python's; one without a name is a copy and counts as no launch. Returns 0: do it now;
// 1: a capture recorded it; negative: the error, negated.
EXPORT int pretended_launch(int device, void* handle, long node, const char* name) {
    Lock lock(runtime().mutex);
    if (*name) fault_before_launch(device);
    if (cudaError_t error = fault_of(device)) return -error;
    if (*name) count(std::string("launch/") + name);
    Stream* stream = stream_of(static_cast<cudaStream_t>(handle), device);
    Capture* capture = stream->capture;
    if (!capture) {
        for (auto& [id, other] : runtime().captures)
            if (stream->legacy && other->origin->blocking && other->origin->device == device) {
                invalidate(*other, "default stream is used beside a capture of a blocking stream");
                return -cudaErrorStreamCaptureImplicit;
            }
        return 0;
    }
    if (capture->invalid) return -cudaErrorStreamCaptureInvalidated;
    capture->recording->nodes.push_back({node, nullptr});
    stream->before[stream]++;
    return 1;
}

EXPORT int pretended_is_capturing(int device, void* handle) {
    Lock lock(runtime().mutex);
    return stream_of(static_cast<cudaStream_t>(handle), device)->capture != nullptr;
}

// From now on the thread's kernels that draw are not refused, but show their generator's state; null ends that.
EXPORT void pretended_watch_philox(unsigned char* state) { philox = state; }

EXPORT void pretended_count(const char* event, long times) { count(event, times); }

// All counts of this process as JSON; the text stays until the thread's next call.
EXPORT const char* pretended_counts() {
    static thread_local std::string text;
    Lock lock(runtime().mutex);
    std::map<std::string, long> all = runtime().counts;
    for (auto& [device, bytes] : runtime().peak) all["peak bytes/" + std::to_string(device)] = static_cast<long>(bytes);
    text = "{";
    for (auto& [event, times] : all) text += (text.size() > 1 ? ", " : "") + quoted(event) + ": " + std::to_string(times);
    text += "}";
    return text.c_str();
}
