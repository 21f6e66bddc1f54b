// Errors: the last one of each thread, the sticky one of a process, and faults that the environment asks for.
//
// PRETENDED_GPU_FAULTS is a list of faults with semicolons between:
//   poison@N        the process's context breaks at its N-th launch, as by an illegal address
//   poison@N:FILE   so in the first process alone that gets there; it writes its process id to FILE
//   dead:G@N        on GPU number G every process gets errors from its N-th launch on; 0: from its first call
//   dead:G@N:FILE   so as soon as FILE exists
//   exit:G@N        on GPU number G every process is killed at its N-th launch
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "runtime.h"

namespace pretended {

thread_local int current_device = 0;
thread_local cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;
static thread_local cudaError_t last_error = cudaSuccess;
static std::atomic<int> sticky_error{cudaSuccess};  // no call succeeds after it; only a new process does
static std::atomic<long> launches{0};

struct Fault {
    std::string kind;
    int device = -1;  // any
    long after = 0;
    std::string flag;
};

static const std::vector<Fault>& faults() {
    static const std::vector<Fault> wanted = [] {
        std::vector<Fault> found;
        const char* text = getenv("PRETENDED_GPU_FAULTS");
        std::stringstream stream(text ? text : "");
        for (std::string part; std::getline(stream, part, ';');) {
            size_t at = part.find('@');
            if (at == std::string::npos) continue;
            Fault fault;
            std::string head = part.substr(0, at), tail = part.substr(at + 1);
            size_t colon = head.find(':');
            fault.kind = head.substr(0, colon);
            if (colon != std::string::npos) fault.device = atoi(head.c_str() + colon + 1);
            colon = tail.find(':');
            fault.after = atol(tail.c_str());
            if (colon != std::string::npos) fault.flag = tail.substr(colon + 1);
            found.push_back(fault);
        }
        return found;
    }();
    return wanted;
}

// Return true in the first process that asks.
static bool first_process(const std::string& flag) {
    int file = open(flag.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (file < 0) return false;
    std::string id = std::to_string(getpid());
    bool written = write(file, id.data(), id.size()) >= 0;
    close(file);
    return written;
}

void fault_before_launch(int device) {
    long number = ++launches;
    for (const Fault& fault : faults()) {
        if (fault.device >= 0 && fault.device != physical(device)) continue;
        if (fault.kind == "exit" && number >= fault.after) kill(getpid(), SIGKILL);
        if (fault.kind == "poison" && number == fault.after && (fault.flag.empty() || first_process(fault.flag)))
            sticky_error = cudaErrorIllegalAddress;
    }
}

cudaError_t fault_of(int device) {
    for (const Fault& fault : faults())
        if (fault.kind == "dead" && fault.device == physical(device) && launches >= fault.after &&
            (fault.flag.empty() || access(fault.flag.c_str(), F_OK) == 0))
            sticky_error = cudaErrorECCUncorrectable;
    return static_cast<cudaError_t>(sticky_error.load());
}

cudaError_t remembered(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t context() { return remembered(fault_of(current_device)); }

}  // namespace pretended

using namespace pretended;

EXPORT cudaError_t cudaGetLastError() {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return sticky_error ? static_cast<cudaError_t>(sticky_error.load()) : error;
}

EXPORT cudaError_t cudaPeekAtLastError() {
    return sticky_error ? static_cast<cudaError_t>(sticky_error.load()) : last_error;
}

struct ErrorText {
    int code;
    const char* name;
    const char* text;
};

static const ErrorText ERRORS[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge", "operation would result in a merge of separate capture sequences"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation", "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit", "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent", "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread", "attempt to terminate a thread-local capture sequence from another thread"},
};

EXPORT const char* cudaGetErrorName(cudaError_t error) {
    for (const ErrorText& each : ERRORS)
        if (each.code == error) return each.name;
    return "cudaErrorUnknown";
}

EXPORT const char* cudaGetErrorString(cudaError_t error) {
    for (const ErrorText& each : ERRORS)
        if (each.code == error) return each.text;
    return "unknown error";
}
