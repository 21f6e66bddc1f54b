// State of the pretended CUDA runtime. One process has one of it; one mutex guards all.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace pretended {

// The calls into Python, see pretended_set_hooks. None of them is made while the mutex is held: Python's own lock is
// taken inside, and a thread that has that one may wait for the mutex.
using RunHook = void (*)(long node);
using ReleaseHook = void (*)(long node);
using TraceHook = void (*)(const char* event);

// One operation of a graph: a kernel that Python keeps (node > 0), or a copy that is done here.
struct Node {
    long kernel = 0;
    std::function<void()> copy;
};

// What was captured. A cudaGraph_t and all the cudaGraphExec_t that are made of it share it.
struct Recording {
    std::vector<Node> nodes;
    ~Recording();  // tells Python which kernels are replayed no more
};

struct Graph {
    std::shared_ptr<Recording> recording;
};

struct Stream;

struct Capture {
    unsigned long long id;
    cudaStreamCaptureMode mode;
    std::thread::id owner;
    Stream* origin;
    std::set<Stream*> streams;
    std::shared_ptr<Recording> recording;
    bool invalid = false;
};

// How many captured operations of each stream are known to come before: joins of forked streams are checked with it.
using Clock = std::map<Stream*, long>;

struct Stream {
    int device;
    bool legacy;    // the default stream
    bool blocking;  // waits for the default stream, and is waited for by it
    Capture* capture = nullptr;
    Clock before;
};

struct Event {
    unsigned long long capture = 0;  // in which it was recorded last; 0: in none
    Clock before;
    double milliseconds = 0;
};

struct Allocation {
    size_t bytes;
    int device;
    bool captured;  // made during a capture: it belongs to a graph's private pool
};

struct Runtime {
    std::recursive_mutex mutex;
    std::map<unsigned long long, Capture*> captures;
    std::map<char*, Allocation> allocations;  // of GPUs
    std::map<char*, size_t> pinned;           // of the host
    std::map<int, size_t> used, peak;         // bytes, by device
    std::map<std::string, long> counts;
    unsigned long long next_capture = 1;
    RunHook run = nullptr;
    ReleaseHook release = nullptr;
    TraceHook trace = nullptr;
};

Runtime& runtime();  // never destroyed: other libraries call when the process ends
using Lock = std::lock_guard<std::recursive_mutex>;

extern thread_local int current_device;
extern thread_local cudaStreamCaptureMode capture_mode;  // what this thread is forbidden during captures

cudaError_t remembered(cudaError_t error);  // for cudaGetLastError of this thread
cudaError_t context();                      // the sticky error of a poisoned context or a dead GPU, if any
void count(const std::string& event, long times = 1);
void trace(const char* event);  // tells Python, if it listens, which of its lines led here

// Count a host synchronisation, refuse it where a capture forbids it.
cudaError_t synchronization(const char* name);

// cudaErrorStreamCaptureUnsupported, and the end of the capture, if a call that may disturb captures is made in one.
cudaError_t unsafe_in_capture(const char* name);
void invalidate(Capture& capture, const std::string& why);

Stream* stream_of(cudaStream_t handle, int device);
cudaError_t enqueue_copy(cudaStream_t handle, std::function<void()> copy);

bool pinned(const void* address);

// Configuration by environment variables (device.cpp).
int device_count();           // that are visible to this process
int physical(int device);     // the number among all GPUs, as CUDA_VISIBLE_DEVICES maps it
size_t total_memory(int device);
int driver_version();

// Faults by environment variables (faults.cpp).
void fault_before_launch(int device);
cudaError_t fault_of(int device);

}  // namespace pretended
