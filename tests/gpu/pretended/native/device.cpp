// Which GPUs there are and what they can do: environment variables say so.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "runtime.h"

namespace pretended {

static std::string setting(const char* name, const char* otherwise) {
    const char* value = getenv(name);
    return value && *value ? value : otherwise;
}

static std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::stringstream stream(text);
    for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
    return parts;
}

static size_t bytes(const std::string& text) {
    char* unit = nullptr;
    double number = strtod(text.c_str(), &unit);
    int shift = *unit == 'G' ? 30 : *unit == 'M' ? 20 : *unit == 'K' ? 10 : 0;
    return static_cast<size_t>(number * static_cast<double>(size_t{1} << shift));
}

static int all_devices() {
    static const int count = atoi(setting("PRETENDED_GPU_COUNT", "1").c_str());
    return count;
}

// The visible GPUs. As CUDA has it, the first entry that names none hides those after it.
static const std::vector<int>& visible() {
    static const std::vector<int> devices = [] {
        std::vector<int> found;
        const char* chosen = getenv("CUDA_VISIBLE_DEVICES");
        if (!chosen) {
            for (int device = 0; device < all_devices(); device++) found.push_back(device);
            return found;
        }
        for (const std::string& name : split(chosen)) {
            char* end = nullptr;
            long device = strtol(name.c_str(), &end, 10);
            if (end == name.c_str() || device < 0 || device >= all_devices()) break;
            found.push_back(static_cast<int>(device));
        }
        return found;
    }();
    return devices;
}

int device_count() { return static_cast<int>(visible().size()); }

int physical(int device) { return device < device_count() ? visible()[device] : device; }

size_t total_memory(int device) {
    static const std::vector<std::string> sizes = split(setting("PRETENDED_GPU_MEMORY", "16GiB"));
    size_t index = static_cast<size_t>(physical(device));
    return bytes(sizes[index < sizes.size() ? index : sizes.size() - 1]);
}

// The newest CUDA that the driver knows, as CUDA writes it: 13020 is 13.2.
int driver_version() {
    static const std::string version = setting("PRETENDED_GPU_CUDA", "");
    if (version.empty()) return CUDART_VERSION;
    int major = 0, minor = 0;
    sscanf(version.c_str(), "%d.%d", &major, &minor);
    return major * 1000 + minor * 10;
}

static void capability(int* major, int* minor) {
    sscanf(setting("PRETENDED_GPU_CAPABILITY", "9.0").c_str(), "%d.%d", major, minor);
}

// Newer minor versions of CUDA run on an older driver, newer major versions do not.
static bool too_old() { return driver_version() / 1000 < CUDART_VERSION / 1000; }

}  // namespace pretended

using namespace pretended;

EXPORT cudaError_t cudaGetDeviceCount(int* count) {
    *count = 0;
    if (too_old()) return remembered(cudaErrorInsufficientDriver);
    *count = device_count();
    return *count ? cudaSuccess : remembered(cudaErrorNoDevice);
}

EXPORT cudaError_t cudaDriverGetVersion(int* version) {
    *version = driver_version();
    return cudaSuccess;
}

EXPORT cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

EXPORT cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return cudaSuccess;
}

EXPORT cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= device_count()) return remembered(cudaErrorInvalidDevice);
    current_device = device;
    return context();
}

// The limits are those of an H100 and H200; torch plans its launches with them.
EXPORT cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    if (device < 0 || device >= device_count()) return remembered(cudaErrorInvalidDevice);
    memset(properties, 0, sizeof *properties);
    const char* name = getenv("PRETENDED_GPU_NAME");
    snprintf(properties->name, sizeof properties->name, "%s", name ? name : "Pretended GPU");
    capability(&properties->major, &properties->minor);
    properties->totalGlobalMem = total_memory(device);
    properties->multiProcessorCount = 132;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->sharedMemPerBlock = 48 << 10;
    properties->sharedMemPerBlockOptin = 227 << 10;
    properties->sharedMemPerMultiprocessor = 228 << 10;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 1 << 16;
    properties->l2CacheSize = 50 << 20;
    for (int axis = 0; axis < 3; axis++) {
        properties->maxThreadsDim[axis] = axis < 2 ? 1024 : 64;
        properties->maxGridSize[axis] = axis < 1 ? 2147483647 : 65535;
    }
    properties->pciBusID = physical(device);
    properties->unifiedAddressing = properties->cooperativeLaunch = 1;
    properties->textureAlignment = 512;
    return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp properties;
    cudaError_t error = cudaGetDeviceProperties(&properties, device);
    if (error) return error;
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
        case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
        case cudaDevAttrWarpSize: *value = properties.warpSize; break;
        case cudaDevAttrMaxThreadsPerBlock: *value = properties.maxThreadsPerBlock; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = properties.maxThreadsPerMultiProcessor; break;
        default: *value = 0;  // in doubt the GPU cannot do it
    }
    return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
    snprintf(text, static_cast<size_t>(length), "0000:%02x:00.0", physical(device));
    return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
    *can = 1;
    return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaSuccess; }

EXPORT cudaError_t cudaDeviceSynchronize() { return synchronization("cudaDeviceSynchronize"); }

EXPORT cudaError_t cudaProfilerStart() { return cudaSuccess; }
EXPORT cudaError_t cudaProfilerStop() { return cudaSuccess; }
