// Question: what does a broker take from one of our loops, and give to it, and what of that is our
//     CPU time?
// Method: a RabbitMQ of one's own (tests/amqp/rabbitmq run bench_amqp [MESSAGES]), messages of 130
//     bytes, persistent, in a durable queue. The same by Python's pika in the same run. What was
//     consumed is counted; the log of the last row is read, and has each message once.
// Unit: messages per second; microseconds of this process's CPU time per message.
// The broker has the same CPUs, and is the bound.

#include <sapwood/amqp.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/run.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

namespace {

using sapwood::task;

constexpr std::string_view queue = "bench";

/// Prints the row of what happens between its making and stop().
class row {
  public:
    explicit row(std::string_view name) : name_(name) {}

    void stop(std::uint64_t messages) const {
        const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - began_;
        const auto cpu = static_cast<double>(std::clock() - cpu_) / CLOCKS_PER_SEC;
        fmt::print("{:<52} {:>9.0f}/s {:>6.2f} us\n", name_,
                   static_cast<double>(messages) / wall.count(),
                   cpu * 1e6 / static_cast<double>(messages));
        std::fflush(stdout);
    }

  private:
    std::string_view name_;
    std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
    std::clock_t cpu_ = std::clock();
};

task<> publish(sapwood::amqp::channel& to, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::string body =
            fmt::format(R"({{"number":{:0>10},"text":"{:x<98}"}})", i, "a record ");
        while (to.publish_nowait("", queue, body) == sapwood::amqp::publication::none) {
            co_await to.room();
        }
    }
    co_await to.confirmed();
}

task<> consume_one_by_one(sapwood::amqp::channel& on, std::uint64_t count) {
    auto from = co_await on.consume(queue, {.prefetch = 1});
    for (std::uint64_t i = 0; i < count; ++i) {
        auto message = co_await from.next();
        if (!message.has_value()) {
            throw std::runtime_error("the consumer ended early");
        }
        co_await message->ack();
    }
    co_await from.cancel();
}

task<> consume_into_log(sapwood::amqp::channel& on, std::uint64_t count, std::string path) {
    const sapwood::file_sink_options file{.path = path};
    const sapwood::pipeline_options options{.durable = sapwood::durability::batch()};
    sapwood::pipeline log = co_await sapwood::pipeline::open(file, options);
    auto from = co_await on.consume(queue, {.prefetch = 256});
    std::vector<sapwood::amqp::delivery> batch;
    for (std::uint64_t kept = 0; kept < count; kept += batch.size()) {
        batch.clear();
        if (co_await from.next_many(batch, 256) == 0) {
            throw std::runtime_error("the consumer ended early");
        }
        sapwood::lsn last = sapwood::lsn::none;
        for (const auto& each : batch) {
            sapwood::record line(sapwood::level::info, 0, each.body());
            last = co_await log.append(std::move(line));
        }
        co_await log.durable(last);
        co_await batch.back().ack_through();
    }
    co_await from.cancel();
    co_await log.close();
}

void verify(const std::string& path, std::uint64_t count) {
    std::set<std::string> numbers;
    std::ifstream log(path);
    for (std::string line; std::getline(log, line);) {
        if (const auto at = line.find("\"number\":"); at != line.npos) {
            numbers.insert(line.substr(at, 20));
        }
    }
    if (numbers.size() != count) {
        throw std::runtime_error(
            fmt::format("the log has {} messages of {}", numbers.size(), count));
    }
}

task<> measure(std::string url, std::uint64_t count) {
    auto mq = co_await sapwood::amqp::connect(url);
    auto channel = co_await mq.open_channel();
    (void)co_await channel.declare_queue({.name = queue});
    (void)co_await channel.purge_queue(queue);
    const std::uint64_t few = count / 10;

    const row published("sapwood: published, persistent, confirmed");
    co_await publish(channel, count);
    published.stop(count);

    const std::string path =
        (std::filesystem::temp_directory_path() / fmt::format("bench_amqp.{}.log", ::getpid()))
            .string();
    const row logged("sapwood: prefetch 256, into a durable log, then acked");
    co_await consume_into_log(channel, count, path);
    logged.stop(count);
    verify(path, count);
    std::filesystem::remove(path);

    co_await publish(channel, few);
    const row one("sapwood: prefetch 1, acknowledged");
    co_await consume_one_by_one(channel, few);
    one.stop(few);
    (void)co_await channel.delete_queue(queue);
    co_await mq.close();
}

} // namespace

int main(int argc, char** argv) {
    const char* const url = std::getenv("SAPWOOD_AMQP_URL");
    const std::uint64_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 200'000;
    if (url == nullptr || count < 10) {
        std::fputs("usage: tests/amqp/rabbitmq run bench_amqp [MESSAGES]\n", stderr);
        return 2;
    }
    try {
        sapwood::run(measure(url, count));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "bench_amqp: {}\n", failure.what());
        return 1;
    }
    const auto peer = std::filesystem::path(argv[0]).parent_path() / "amqp_pika.py";
    return std::system(fmt::format("/usr/bin/python3 '{}' {}", peer.string(), count / 4).c_str());
}
