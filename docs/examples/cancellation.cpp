#include <sapwood/sapwood.hpp>

#include <cstdio>

using namespace std::chrono_literals;
using sapwood::task;

task<> serve(int client) {
    std::printf("client %d is served\n", client);
    const auto served = co_await sapwood::as_result(sapwood::sleep_for(1h)); // reads and writes
    if (!served) {
        co_await sapwood::sleep_for(1ms); // a cleanup may wait
        std::printf("client %d has been seen off\n", client);
        throw sapwood::cancelled{};
    }
}

task<> server() {
    co_await sapwood::with_task_group([](sapwood::task_group& group) -> task<> {
        for (int client = 1; client <= 3; ++client) {
            group.spawn(serve(client));
        }
        co_await sapwood::sleep_for(1h); // where it would accept
    });
}

task<> run_for_a_while() {
    const auto ended = co_await sapwood::as_result(sapwood::timeout(20ms, server()));
    std::printf("%s\n", ended.error() == std::errc::timed_out ? "the time is up, and nobody is left"
                                                              : "the server ended by itself");
}

int main() {
    sapwood::run(run_for_a_while());
}
