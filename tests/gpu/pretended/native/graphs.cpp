// Graphs: what a capture recorded, done again in the order in which it was captured.
#include "runtime.h"

using namespace pretended;

static Graph* graph_of(cudaGraph_t handle) { return reinterpret_cast<Graph*>(handle); }

EXPORT cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    if (cudaError_t error = context()) return error;
    *executable = reinterpret_cast<cudaGraphExec_t>(new Graph{graph_of(graph)->recording});
    return cudaSuccess;
}

EXPORT cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                                 unsigned long long flags) {
    return cudaGraphInstantiate(executable, graph, flags);
}

EXPORT cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph_of(graph);
    return cudaSuccess;
}

EXPORT cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    if (cudaError_t error = unsafe_in_capture("cudaGraphExecDestroy")) return remembered(error);
    delete reinterpret_cast<Graph*>(executable);
    return context();
}

EXPORT cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
    if (cudaError_t error = context()) return error;
    std::shared_ptr<Recording> recording = reinterpret_cast<Graph*>(executable)->recording;
    RunHook run = runtime().run;
    {
        Lock lock(runtime().mutex);
        Stream* stream = stream_of(handle, current_device);
        if (stream->capture) {
            invalidate(*stream->capture, "cudaGraphLaunch");
            return remembered(cudaErrorStreamCaptureUnsupported);
        }
        count("graph launch");
        count("replayed", static_cast<long>(recording->nodes.size()));
        fault_before_launch(current_device);
    }
    for (const Node& node : recording->nodes) {
        if (node.kernel && run) run(node.kernel);
        if (node.copy) node.copy();
    }
    return cudaSuccess;
}

EXPORT cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count_of_nodes) {
    *count_of_nodes = graph_of(graph)->recording->nodes.size();
    return cudaSuccess;
}

EXPORT cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t, cudaGraphNode_t*, cudaGraphEdgeData*, size_t* number) {
    *number = 0;
    return cudaSuccess;
}

EXPORT cudaError_t cudaUserObjectCreate(cudaUserObject_t* object, void*, cudaHostFn_t, unsigned, unsigned) {
    *object = nullptr;
    return cudaSuccess;
}

EXPORT cudaError_t cudaUserObjectRelease(cudaUserObject_t, unsigned) { return cudaSuccess; }

EXPORT cudaError_t cudaGraphRetainUserObject(cudaGraph_t, cudaUserObject_t, unsigned, unsigned) { return cudaSuccess; }
