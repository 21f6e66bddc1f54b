// Memory of GPUs and pinned memory of the host: both are pages of this process.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "runtime.h"

namespace pretended {

static void* pages(size_t bytes) {
    void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? nullptr : address;
}

// The entry of a map by first address in which `address` lies, or null.
template <typename Value, typename Size>
static Value* holding(std::map<char*, Value>& blocks, const void* address, Size size) {
    auto next = blocks.upper_bound(static_cast<char*>(const_cast<void*>(address)));
    if (next == blocks.begin()) return nullptr;
    auto& [first, value] = *--next;
    return static_cast<const char*>(address) < first + size(value) ? &value : nullptr;
}

static Allocation* allocation_of(const void* address) {
    return holding(runtime().allocations, address, [](const Allocation& block) { return block.bytes; });
}

bool pinned(const void* address) {
    Lock lock(runtime().mutex);
    return holding(runtime().pinned, address, [](size_t bytes) { return bytes; }) != nullptr;
}

// Copies between GPU and host read or write the host's memory when they are done: pageable memory is staged before.
static const char* direction(cudaMemcpyKind kind) {
    switch (kind) {
        case cudaMemcpyHostToDevice: return "copy/host to device";
        case cudaMemcpyDeviceToHost: return "copy/device to host";
        case cudaMemcpyDeviceToDevice: return "copy/device to device";
        default: return "copy/other";
    }
}

}  // namespace pretended

using namespace pretended;

EXPORT cudaError_t cudaMalloc(void** address, size_t bytes) {
    if (cudaError_t error = context()) return error;
    if (cudaError_t error = unsafe_in_capture("cudaMalloc")) return remembered(error);
    Runtime& all = runtime();
    Lock lock(all.mutex);
    count("cudaMalloc");
    size_t rounded = (bytes + 511) / 512 * 512;
    size_t& used = all.used[current_device];
    if (used + rounded > total_memory(current_device)) {
        count("cudaMalloc out of memory");
        return remembered(cudaErrorMemoryAllocation);
    }
    *address = pages(rounded);
    if (!*address) return remembered(cudaErrorMemoryAllocation);
    bool captured = std::any_of(all.captures.begin(), all.captures.end(), [](const auto& each) {
        return each.second->origin->device == current_device;
    });
    all.allocations[static_cast<char*>(*address)] = {rounded, current_device, captured};
    used += rounded;
    all.peak[current_device] = std::max(all.peak[current_device], used);
    return cudaSuccess;
}

EXPORT cudaError_t cudaFree(void* address) {
    if (cudaError_t error = context()) return error;
    if (!address) return cudaSuccess;
    if (cudaError_t error = unsafe_in_capture("cudaFree")) return remembered(error);
    Runtime& all = runtime();
    Lock lock(all.mutex);
    count("cudaFree");
    auto found = all.allocations.find(static_cast<char*>(address));
    if (found == all.allocations.end()) return remembered(cudaErrorInvalidValue);
    all.used[found->second.device] -= found->second.bytes;
    munmap(address, found->second.bytes);
    all.allocations.erase(found);
    return cudaSuccess;
}

EXPORT cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    Lock lock(runtime().mutex);
    *total = total_memory(current_device);
    *free = *total - runtime().used[current_device];
    return context();
}

EXPORT cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
    if (cudaError_t error = context()) return error;
    if (cudaError_t error = unsafe_in_capture("cudaHostAlloc")) return remembered(error);
    Lock lock(runtime().mutex);
    count("cudaHostAlloc");
    *address = pages(bytes);
    if (!*address) return remembered(cudaErrorMemoryAllocation);
    runtime().pinned[static_cast<char*>(*address)] = bytes;
    return cudaSuccess;
}

EXPORT cudaError_t cudaMallocHost(void** address, size_t bytes) { return cudaHostAlloc(address, bytes, 0); }

EXPORT cudaError_t cudaFreeHost(void* address) {
    Lock lock(runtime().mutex);
    auto found = runtime().pinned.find(static_cast<char*>(address));
    if (found == runtime().pinned.end()) return remembered(cudaErrorInvalidValue);
    munmap(address, found->second);
    runtime().pinned.erase(found);
    return cudaSuccess;
}

EXPORT cudaError_t cudaHostRegister(void* address, size_t bytes, unsigned) {
    Lock lock(runtime().mutex);
    runtime().pinned[static_cast<char*>(address)] = bytes;
    return cudaSuccess;
}

EXPORT cudaError_t cudaHostUnregister(void* address) {
    Lock lock(runtime().mutex);
    runtime().pinned.erase(static_cast<char*>(address));
    return cudaSuccess;
}

EXPORT cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
    Lock lock(runtime().mutex);
    memset(attributes, 0, sizeof *attributes);
    void* plain = const_cast<void*>(address);
    if (Allocation* block = allocation_of(address)) {
        attributes->type = cudaMemoryTypeDevice;
        attributes->device = block->device;
        attributes->devicePointer = plain;
    } else if (pinned(address)) {
        attributes->type = cudaMemoryTypeHost;
        attributes->hostPointer = attributes->devicePointer = plain;
    } else {
        attributes->type = cudaMemoryTypeUnregistered;
        attributes->device = -2;
        attributes->hostPointer = plain;
    }
    return cudaSuccess;
}

EXPORT cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    count(direction(kind));
    return enqueue_copy(stream, [=] { memmove(to, from, bytes); });
}

EXPORT cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    count(direction(kind));
    if (cudaError_t error = synchronization("cudaMemcpy")) return error;
    memmove(to, from, bytes);
    return cudaSuccess;
}

EXPORT cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                     size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
    count(direction(kind));
    return enqueue_copy(stream, [=] {
        for (size_t row = 0; row < height; row++)
            memmove(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    });
}

EXPORT cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

EXPORT cudaError_t cudaMemset(void* to, int value, size_t bytes) {
    if (cudaError_t error = synchronization("cudaMemset")) return error;
    memset(to, value, bytes);
    return cudaSuccess;
}

EXPORT cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
    count("cudaMemsetAsync");
    return enqueue_copy(stream, [=] { memset(to, value, bytes); });
}

// Python asks whether memory belongs to a graph: outside of a replay nobody reads it.
EXPORT int pretended_in_private_pool(const void* address) {
    Lock lock(runtime().mutex);
    Allocation* block = allocation_of(address);
    return block && block->captured;
}

EXPORT int pretended_is_pinned(const void* address) { return pinned(address); }
