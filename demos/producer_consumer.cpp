// A producer and a consumer coroutine with a channel between them: asyncio's first example. One
// thread; while one of the two sleeps (it stands for waiting on a network or a disk), the other
// runs.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/sapwood.hpp>

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

    command_line line("A producer and a consumer coroutine with a channel between them.");
    line.number({"--items", "How many items are produced", "N"}, with.items, 0, 1'000'000'000);
    line.number({"--capacity", "Items that may wait in the channel", "N"}, with.capacity,
                std::size_t{1}, std::size_t{1} << 24);
    line.number({"--delay-max", "Each step takes a random time below so many ms", "MS"}, delay_max,
                std::int64_t{0}, std::int64_t{3'600'000});
    line.number({"--seed", "Repeat the delays of an earlier run (default: random)", "N"},
                with.seed);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }
    with.delay_max = milliseconds(delay_max);

    try {
        sapwood::run(run(with));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "producer_consumer: {}\n", failure.what());
        return 1;
    }
}
