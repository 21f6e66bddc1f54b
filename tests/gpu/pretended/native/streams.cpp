// Streams, events and captures. All work is done at once, in the order of the calls: streams differ in what captures
// make of them, not in time.
#include <algorithm>
#include <chrono>

#include "runtime.h"

namespace pretended {

Runtime& runtime() {
    static Runtime* all = new Runtime;
    return *all;
}

Recording::~Recording() {
    if (ReleaseHook release = runtime().release)
        for (const Node& node : nodes)
            if (node.kernel) release(node.kernel);
}

Stream* stream_of(cudaStream_t handle, int device) {
    if (handle != nullptr && handle != cudaStreamLegacy && handle != cudaStreamPerThread)
        return reinterpret_cast<Stream*>(handle);
    static std::map<int, Stream*>& defaults = *new std::map<int, Stream*>;
    Lock lock(runtime().mutex);
    Stream*& found = defaults[device];
    if (!found) found = new Stream{device, true, true};
    return found;
}

void count(const std::string& event, long times) {
    Lock lock(runtime().mutex);
    runtime().counts[event] += times;
}

void trace(const char* event) {
    if (TraceHook hook = runtime().trace) hook(event);
}

void invalidate(Capture& capture, const std::string& why) {
    capture.invalid = true;
    count("violation/" + why);
}

// A thread that captures, or any thread while a capture in global mode is on, must not make such calls, unless it
// said "relaxed", as torch's allocator does around its own.
cudaError_t unsafe_in_capture(const char* name) {
    Lock lock(runtime().mutex);
    if (capture_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
    for (auto& [id, capture] : runtime().captures) {
        bool own = capture->owner == std::this_thread::get_id();
        bool forbidden = own ? capture->mode != cudaStreamCaptureModeRelaxed
                             : capture->mode == cudaStreamCaptureModeGlobal && capture_mode == cudaStreamCaptureModeGlobal;
        if (forbidden) {
            invalidate(*capture, name);
            return cudaErrorStreamCaptureUnsupported;
        }
    }
    return cudaSuccess;
}

cudaError_t synchronization(const char* name) {
    count(std::string("synchronization/") + name);
    trace(name);
    if (cudaError_t error = context()) return error;
    return remembered(unsafe_in_capture(name));
}

cudaError_t enqueue_copy(cudaStream_t handle, std::function<void()> copy) {
    if (cudaError_t error = context()) return error;
    {
        Lock lock(runtime().mutex);
        Stream* stream = stream_of(handle, current_device);
        if (Capture* capture = stream->capture) {
            if (capture->invalid) return remembered(cudaErrorStreamCaptureInvalidated);
            capture->recording->nodes.push_back({0, copy});
            stream->before[stream]++;
            return cudaSuccess;
        }
    }
    copy();
    return cudaSuccess;
}

static bool ongoing(unsigned long long capture) { return runtime().captures.count(capture) > 0; }

static cudaStreamCaptureStatus status_of(const Stream* stream) {
    if (!stream->capture) return cudaStreamCaptureStatusNone;
    return stream->capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
}

static void merge(Clock& into, const Clock& other) {
    for (const auto& [stream, operations] : other) into[stream] = std::max(into[stream], operations);
}

// Refuse what would have the host look at a stream or an event of a capture.
static cudaError_t refused(Capture* capture, const char* name, cudaError_t error) {
    invalidate(*capture, name);
    return remembered(error);
}

}  // namespace pretended

using namespace pretended;

EXPORT cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int) {
    if (cudaError_t error = context()) return error;
    *handle = reinterpret_cast<cudaStream_t>(new Stream{current_device, false, !(flags & cudaStreamNonBlocking)});
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
    return cudaStreamCreateWithPriority(handle, flags, 0);
}

EXPORT cudaError_t cudaStreamCreate(cudaStream_t* handle) { return cudaStreamCreateWithPriority(handle, 0, 0); }

EXPORT cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }  // events may still name it

EXPORT cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) {
    *priority = 0;
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamQuery(cudaStream_t handle) {
    if (cudaError_t error = context()) return error;
    Lock lock(runtime().mutex);
    if (Capture* capture = stream_of(handle, current_device)->capture)
        return refused(capture, "cudaStreamQuery", cudaErrorStreamCaptureUnsupported);
    return remembered(unsafe_in_capture("cudaStreamQuery"));
}

EXPORT cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    {
        Lock lock(runtime().mutex);
        if (Capture* capture = stream_of(handle, current_device)->capture)
            return refused(capture, "cudaStreamSynchronize", cudaErrorStreamCaptureUnsupported);
    }
    return synchronization("cudaStreamSynchronize");
}

EXPORT cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned) {
    if (cudaError_t error = context()) return error;
    Lock lock(runtime().mutex);
    count("cudaStreamWaitEvent");
    Stream* stream = stream_of(handle, current_device);
    auto* event = reinterpret_cast<Event*>(event_handle);
    if (event->capture && ongoing(event->capture)) {
        Capture* capture = runtime().captures[event->capture];
        if (stream->legacy)
            return refused(capture, "default stream waits for a capture", cudaErrorStreamCaptureImplicit);
        if (stream->capture && stream->capture != capture)
            return refused(capture, "merge of two captures", cudaErrorStreamCaptureMerge);
        if (!stream->capture) stream->before.clear();
        stream->capture = capture;
        capture->streams.insert(stream);
        merge(stream->before, event->before);
        return cudaSuccess;
    }
    if (stream->capture)
        return refused(stream->capture, "capture waits for work outside", cudaErrorStreamCaptureIsolation);
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void* data, unsigned) {
    callback(stream, cudaSuccess, data);
    return cudaSuccess;
}

EXPORT cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
    return enqueue_copy(stream, [=] { function(data); });
}

EXPORT cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    if (cudaError_t error = context()) return error;
    *event = reinterpret_cast<cudaEvent_t>(new Event);
    return cudaSuccess;
}

EXPORT cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

EXPORT cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete reinterpret_cast<Event*>(event);
    return cudaSuccess;
}

EXPORT cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
    if (cudaError_t error = context()) return error;
    Lock lock(runtime().mutex);
    count("cudaEventRecord");
    auto* event = reinterpret_cast<Event*>(handle);
    Stream* stream = stream_of(stream_handle, current_device);
    event->capture = stream->capture ? stream->capture->id : 0;
    event->before = stream->before;
    auto now = std::chrono::steady_clock::now().time_since_epoch();
    event->milliseconds = std::chrono::duration<double, std::milli>(now).count();
    return cudaSuccess;
}

EXPORT cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
    return cudaEventRecord(event, stream);
}

static cudaError_t captured_event(cudaEvent_t handle, const char* name) {
    Lock lock(runtime().mutex);
    auto* event = reinterpret_cast<Event*>(handle);
    if (!event->capture || !ongoing(event->capture)) return cudaSuccess;
    return refused(runtime().captures[event->capture], name, cudaErrorCapturedEvent);
}

EXPORT cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (cudaError_t error = context()) return error;
    if (cudaError_t error = captured_event(event, "cudaEventQuery")) return error;
    return remembered(unsafe_in_capture("cudaEventQuery"));
}

EXPORT cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (cudaError_t error = captured_event(event, "cudaEventSynchronize")) return error;
    return synchronization("cudaEventSynchronize");
}

EXPORT cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
    double first = reinterpret_cast<Event*>(start)->milliseconds;
    *milliseconds = static_cast<float>(reinterpret_cast<Event*>(end)->milliseconds - first);
    return cudaSuccess;
}

EXPORT cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
    std::swap(capture_mode, *mode);
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
    if (cudaError_t error = context()) return error;
    Lock lock(runtime().mutex);
    Stream* stream = stream_of(handle, current_device);
    if (stream->legacy) return remembered(cudaErrorStreamCaptureUnsupported);
    if (stream->capture) return remembered(cudaErrorIllegalState);
    count("capture");
    auto recording = std::make_shared<Recording>();
    auto* capture = new Capture{runtime().next_capture++, mode, std::this_thread::get_id(), stream, {stream}, recording};
    runtime().captures[capture->id] = capture;
    stream->capture = capture;
    stream->before.clear();
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t stream, cudaGraph_t, const cudaGraphNode_t*,
                                                 const cudaGraphEdgeData*, size_t, cudaStreamCaptureMode mode) {
    return cudaStreamBeginCapture(stream, mode);
}

EXPORT cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
    *graph = nullptr;
    std::unique_ptr<Capture> capture;  // goes after the lock: a recording that nobody keeps tells Python
    Lock lock(runtime().mutex);
    Stream* stream = stream_of(handle, current_device);
    if (!stream->capture) return remembered(cudaErrorIllegalState);
    if (stream->capture->origin != stream) return remembered(cudaErrorStreamCaptureUnmatched);
    if (stream->capture->mode != cudaStreamCaptureModeRelaxed && stream->capture->owner != std::this_thread::get_id())
        return remembered(cudaErrorStreamCaptureWrongThread);
    capture.reset(stream->capture);
    runtime().captures.erase(capture->id);
    bool joined = true;
    for (Stream* each : capture->streams) {
        joined = joined && stream->before[each] == each->before[each];
        each->capture = nullptr;
    }
    if (cudaError_t error = context()) return error;
    if (capture->invalid) return remembered(cudaErrorStreamCaptureInvalidated);
    if (!joined) {
        count("violation/forked stream is not joined");
        return remembered(cudaErrorStreamCaptureUnjoined);
    }
    *graph = reinterpret_cast<cudaGraph_t>(new Graph{capture->recording});
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
    if (cudaError_t error = context()) return error;
    Lock lock(runtime().mutex);
    *status = status_of(stream_of(handle, current_device));
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status, unsigned long long* id,
                                            cudaGraph_t* graph, const cudaGraphNode_t** dependencies,
                                            const cudaGraphEdgeData** edges, size_t* count_of_dependencies) {
    Lock lock(runtime().mutex);
    Stream* stream = stream_of(handle, current_device);
    *status = status_of(stream);
    if (id) *id = stream->capture ? stream->capture->id : 0;
    if (graph) *graph = nullptr;
    if (dependencies) *dependencies = nullptr;
    if (edges) *edges = nullptr;
    if (count_of_dependencies) *count_of_dependencies = 0;
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t, cudaGraphNode_t*, const cudaGraphEdgeData*, size_t,
                                                       unsigned) {
    return cudaSuccess;
}
