// An all-reduce of gloo, which PyTorch runs on processors. Arguments: a directory for the ranks to meet in, and how many elements.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gloo/allreduce.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

int main(int, char** argv) {
    const int rank = std::atoi(std::getenv("TESTBED_RANK")), size = std::atoi(std::getenv("TESTBED_SIZE"));
    gloo::transport::tcp::attr attributes;
    attributes.iface = "eth1";
    auto device = gloo::transport::tcp::CreateDevice(attributes);
    gloo::rendezvous::FileStore store(argv[1]);
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, size);
    context->connectFullMesh(store, device);
    std::vector<float> vector(std::stoul(argv[2]), rank + 1.0f);
    gloo::AllreduceOptions options(context);
    options.setOutput(vector.data(), vector.size());
    options.setReduceFunction([](void* to, const void* a, const void* b, size_t count) {
        for (size_t n = 0; n < count; ++n)
            static_cast<float*>(to)[n] = static_cast<const float*>(a)[n] + static_cast<const float*>(b)[n];
    });
    const auto began = std::chrono::steady_clock::now();
    gloo::allreduce(options);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - began;
    size_t wrong = 0;
    for (float value : vector) wrong += value != size * (size + 1) / 2.0f;
    std::printf("[%d, %zu, %.0f]\n", rank, wrong, took.count());
}
