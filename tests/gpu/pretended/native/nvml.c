/* libnvidia-ml.so.1: Ray counts a node's GPUs with it, torch names them with it. CUDA_VISIBLE_DEVICES hides none here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

#define UNSUPPORTED(name) \
    int name(void) { return NOT_SUPPORTED; }

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static unsigned device_count(void) { return (unsigned)atoi(setting("PRETENDED_GPU_COUNT", "1")); }

static unsigned long long total_memory(unsigned device) {
    const char *sizes = setting("PRETENDED_GPU_MEMORY", "16GiB");
    for (; device && strchr(sizes, ','); device--) sizes = strchr(sizes, ',') + 1;
    char *unit;
    double number = strtod(sizes, &unit);
    int shift = *unit == 'G' ? 30 : *unit == 'M' ? 20 : *unit == 'K' ? 10 : 0;
    return (unsigned long long)(number * (double)(1ULL << shift));
}

static unsigned device_of(void *handle) { return (unsigned)((size_t)handle - 1); }

int nvmlInit(void) { return SUCCESS; }
int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(unsigned flags) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlDeviceGetCount(unsigned *count) { return *count = device_count(), SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = device_count(), SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned device, void **handle) {
    if (device >= device_count()) return NOT_FOUND;
    *handle = (void *)(size_t)(device + 1);
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    snprintf(text, length, "%s", setting("PRETENDED_GPU_NAME", "Pretended GPU"));
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    snprintf(text, length, "GPU-00000000-0000-0000-0000-%012u", device_of(handle));
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *total_free_used) {
    total_free_used[0] = total_free_used[1] = total_memory(device_of(handle));
    total_free_used[2] = 0;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *later) { return *now = *later = 0, NOT_SUPPORTED; }

int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    snprintf(text, length, "%s", setting("PRETENDED_GPU_DRIVER", "600.10.01"));
    return SUCCESS;
}

/* The newest CUDA that the driver knows; without a setting the tests' torch is new enough to ask for no more. */
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    int major = 99, minor = 0;
    sscanf(setting("PRETENDED_GPU_CUDA", "99.0"), "%d.%d", &major, &minor);
    *version = major * 1000 + minor * 10;
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

const char *nvmlErrorString(int error) { return "an error of the pretended NVML"; }

UNSUPPORTED(nvmlDeviceGetComputeRunningProcesses)
UNSUPPORTED(nvmlDeviceGetGpuFabricInfoV)
UNSUPPORTED(nvmlDeviceGetHandleByPciBusId)
UNSUPPORTED(nvmlDeviceGetHandleByPciBusId_v2)
UNSUPPORTED(nvmlDeviceGetNvLinkRemoteDeviceType)
UNSUPPORTED(nvmlDeviceGetNvLinkRemotePciInfo_v2)
