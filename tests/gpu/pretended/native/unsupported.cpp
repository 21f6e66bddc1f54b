// Calls that torch links against and that no test of ours makes: they say so.
#include <cstring>

#include "runtime.h"

using namespace pretended;

#define UNSUPPORTED(name, parameters) \
    EXPORT cudaError_t name parameters { return remembered(cudaErrorNotSupported); }

UNSUPPORTED(cudaDeviceGetDefaultMemPool, (cudaMemPool_t*, int))
UNSUPPORTED(cudaDeviceGetGraphMemAttribute, (int, cudaGraphMemAttributeType, void*))
UNSUPPORTED(cudaDeviceSetGraphMemAttribute, (int, cudaGraphMemAttributeType, void*))
UNSUPPORTED(cudaFreeAsync, (void*, cudaStream_t))
UNSUPPORTED(cudaMallocAsync, (void**, size_t, cudaStream_t))
UNSUPPORTED(cudaMallocManaged, (void**, size_t, unsigned))
UNSUPPORTED(cudaMemPoolGetAttribute, (cudaMemPool_t, cudaMemPoolAttr, void*))
UNSUPPORTED(cudaMemPoolSetAccess, (cudaMemPool_t, const cudaMemAccessDesc*, size_t))
UNSUPPORTED(cudaMemPoolSetAttribute, (cudaMemPool_t, cudaMemPoolAttr, void*))
UNSUPPORTED(cudaMemPoolTrimTo, (cudaMemPool_t, size_t))
UNSUPPORTED(cudaIpcCloseMemHandle, (void*))
UNSUPPORTED(cudaIpcGetEventHandle, (cudaIpcEventHandle_t*, cudaEvent_t))
UNSUPPORTED(cudaIpcGetMemHandle, (cudaIpcMemHandle_t*, void*))
UNSUPPORTED(cudaIpcOpenEventHandle, (cudaEvent_t*, cudaIpcEventHandle_t))
UNSUPPORTED(cudaIpcOpenMemHandle, (void**, cudaIpcMemHandle_t, unsigned))
UNSUPPORTED(cudaGraphAddNode, (cudaGraphNode_t*, cudaGraph_t, const cudaGraphNode_t*, const cudaGraphEdgeData*, size_t,
                               cudaGraphNodeParams*))
UNSUPPORTED(cudaGraphConditionalHandleCreate, (cudaGraphConditionalHandle*, cudaGraph_t, unsigned, unsigned))
UNSUPPORTED(cudaMemcpyToSymbol, (const void*, const void*, size_t, size_t, cudaMemcpyKind))
UNSUPPORTED(cudaGetSymbolAddress, (void**, const void*))
UNSUPPORTED(cudaLibraryGetGlobal, (void**, size_t*, cudaLibrary_t, const char*))
UNSUPPORTED(cudaLibraryGetKernel, (cudaKernel_t*, cudaLibrary_t, const char*))
UNSUPPORTED(cudaLibraryGetKernelCount, (unsigned*, cudaLibrary_t))
UNSUPPORTED(cudaLibraryGetManaged, (void**, size_t*, cudaLibrary_t, const char*))
UNSUPPORTED(cudaLibraryGetUnifiedFunction, (void**, cudaLibrary_t, const char*))
UNSUPPORTED(cudaLibraryUnload, (cudaLibrary_t))
UNSUPPORTED(cudaLibraryLoadData, (cudaLibrary_t*, const void*, cudaJitOption*, void**, unsigned, cudaLibraryOption*,
                                  void**, unsigned))
UNSUPPORTED(cudaLibraryLoadFromFile, (cudaLibrary_t*, const char*, cudaJitOption*, void**, unsigned, cudaLibraryOption*,
                                      void**, unsigned))

// The driver's functions, by name: torch asks for these few, and must be told of success to go on.
static int unsupported() { return cudaErrorNotSupported; }

static int get_device(int* device, int ordinal) {
    *device = ordinal;
    return 0;
}

static int get_attribute(int* value, int, int) {
    *value = 0;
    return 0;
}

static int primary_context_state(int, unsigned* flags, int* active) {
    *flags = 0;
    *active = 1;
    return 0;
}

static int error_string(int, const char** text) {
    *text = "an error of the pretended driver";
    return 0;
}

static int current_context(void** context) {
    *context = &runtime();
    return 0;
}

EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                                    cudaDriverEntryPointQueryResult* result) {
    struct Entry {
        const char* name;
        void* function;
    };
    const Entry entries[] = {
        {"cuDeviceGet", reinterpret_cast<void*>(get_device)},
        {"cuDeviceGetAttribute", reinterpret_cast<void*>(get_attribute)},
        {"cuDevicePrimaryCtxGetState", reinterpret_cast<void*>(primary_context_state)},
        {"cuGetErrorString", reinterpret_cast<void*>(error_string)},
        {"cuCtxGetCurrent", reinterpret_cast<void*>(current_context)},
    };
    *function = reinterpret_cast<void*>(unsupported);
    for (const Entry& each : entries)
        if (!strcmp(each.name, name)) *function = each.function;
    if (result) *result = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}
