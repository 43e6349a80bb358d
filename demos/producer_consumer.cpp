// A producer and a consumer coroutine with a channel between them: asyncio's first example. One
// thread; while one of the two sleeps (it stands for waiting on a network or a disk), the other
// runs.
#include "print_line.hpp"

#include <sapwood/sapwood.hpp>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <random>
#include <string>

namespace {

using std::chrono::milliseconds;

/// Times to sleep. The producer and the consumer have one each, so that with a seed each sleeps
/// the same times in every run, whoever comes first.
class random_delay {
  public:
    random_delay(std::uint64_t seed, milliseconds below)
        : engine_(seed),
          microseconds_(0,
                        std::max<std::int64_t>(0, std::chrono::microseconds(below).count() - 1)) {}

    std::chrono::microseconds operator()() {
        return std::chrono::microseconds(microseconds_(engine_));
    }

  private:
    std::mt19937_64 engine_;
    std::uniform_int_distribution<std::int64_t> microseconds_;
};

struct settings {
    int items = 10;
    std::size_t capacity = 100;
    milliseconds delay_max{1000};
    std::uint64_t seed = std::random_device()();
};

sapwood::task<> produce(sapwood::channel<std::string>& queue, int n, random_delay delay) {
    for (int x = 1; x <= n; ++x) {
        print_line("producing : {}", x);
        co_await sapwood::sleep_for(delay());
        co_await queue.send(std::to_string(x));
    }
}

sapwood::task<> consume(sapwood::channel<std::string>& queue, random_delay delay) {
    while (true) {
        auto item = co_await queue.receive();
        print_line("consuming : {}", item);
        co_await sapwood::sleep_for(delay());
        queue.task_done();
    }
}

sapwood::task<> run(const settings& with) {
    sapwood::channel<std::string> queue{with.capacity};
    auto consumer = sapwood::spawn(consume(queue, {with.seed + 1, with.delay_max}));
    co_await produce(queue, with.items, {with.seed, with.delay_max});
    co_await queue.join(); // until the consumer has processed every item
    consumer.cancel();     // it is still awaiting an item
}

} // namespace

int main(int argc, char** argv) {
    settings with;
    std::int64_t delay_max = with.delay_max.count();

    CLI::App app("A producer and a consumer coroutine with a channel between them.");
    app.add_option("--items", with.items, "How many items are produced")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(0, 1'000'000'000));
    app.add_option("--capacity", with.capacity, "Items that may wait in the channel")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 24));
    app.add_option("--delay-max", delay_max, "Each step takes a random time below so many ms")
        ->type_name("MS")
        ->capture_default_str()
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{3'600'000}));
    app.add_option("--seed", with.seed, "Repeat the delays of an earlier run (default: random)");
    app.set_version_flag("--version", SAPWOOD_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem) == 0 ? 0 : 2;
    }
    with.delay_max = milliseconds(delay_max);

    try {
        sapwood::run(run(with));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "producer_consumer: {}\n", failure.what());
        return 1;
    }
}
