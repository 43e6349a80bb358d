#include "amqp_rows.hpp"

#include <sapwood/amqp.hpp>
#include <sapwood/channel.hpp>
#include <sapwood/errors.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/run.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/when_all.hpp>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <unistd.h>

namespace bench {

namespace {

using sapwood::task;

/// Of all CPUs, in seconds: what was idle.
double idle_seconds() {
    std::ifstream stat("/proc/stat");
    std::string name;
    double user = 0;
    double nice = 0;
    double system = 0;
    double idle = 0;
    stat >> name >> user >> nice >> system >> idle;
    return idle / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

class amqp_meter {
  public:
    explicit amqp_meter(int broker) : broker_(broker) {}

    void start() {
        broker_cpu_ = cpu_seconds_of(broker_);
        idle_ = idle_seconds();
        began_ = std::chrono::steady_clock::now();
        cpu_ = std::clock();
    }

    [[nodiscard]] amqp_cost stop(std::uint64_t messages) const {
        const double client = static_cast<double>(std::clock() - cpu_) / CLOCKS_PER_SEC;
        const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - began_;
        const double broker = cpu_seconds_of(broker_) - broker_cpu_;
        const auto count = static_cast<double>(messages);
        return {count / wall.count(),
                client * 1e6 / count,
                broker * 1e6 / count,
                broker / wall.count(),
                (idle_seconds() - idle_) / wall.count(),
                0};
    }

  private:
    int broker_;
    double broker_cpu_ = 0;
    double idle_ = 0;
    std::clock_t cpu_ = 0;
    std::chrono::steady_clock::time_point began_;
};

struct publishing {
    std::size_t connections = 1;
    bool persistent = true;
    std::size_t window = 4096;
};

std::string queue_name(std::size_t of) {
    return fmt::format("bench {}", of);
}

/// 130 bytes, in which the number stands: made in no time, which is not what is measured.
std::string body_of(std::uint64_t number) {
    static const std::string pattern =
        fmt::format(R"({{"number":{:0>10},"text":"{:x<98}"}})", 0, "a record ");
    std::string body = pattern;
    for (std::size_t at = sizeof(R"({"number":)") - 1 + 10; number > 0; number /= 10) {
        body[--at] = static_cast<char>('0' + number % 10);
    }
    return body;
}

struct producer {
    sapwood::amqp::connection mq;
    sapwood::amqp::channel channel;
    std::string queue;
};

task<> open(producer& into, const amqp_broker& at, std::size_t number, std::size_t window) {
    sapwood::amqp::connection_options options;
    options.to = sapwood::amqp::parse_address(at.url);
    options.window_messages = window;
    into.mq = co_await sapwood::amqp::connect(options);
    into.channel = co_await into.mq.open_channel();
    into.queue = queue_name(number);
    (void)co_await into.channel.declare_queue({.name = into.queue});
    (void)co_await into.channel.purge_queue(into.queue);
}

task<> publish(producer& from, std::uint64_t count, bool is_persistent) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::string body = body_of(i);
        while (from.channel.publish_nowait("", from.queue, body, {.persistent = is_persistent}) ==
               sapwood::amqp::publication::none) {
            co_await from.channel.room();
        }
    }
    co_await from.channel.confirmed();
}

task<> close(producer& which) {
    (void)co_await which.channel.delete_queue(which.queue);
    co_await which.mq.close();
}

task<amqp_cost> measure_publishing(amqp_broker at, std::uint64_t messages, publishing how) {
    std::vector<producer> all(how.connections);
    for (std::size_t i = 0; i < all.size(); ++i) {
        co_await open(all[i], at, i, how.window);
    }
    const std::uint64_t each = messages / all.size();
    amqp_meter meter(at.pid);
    meter.start();
    std::vector<task<>> tasks;
    for (producer& one : all) {
        tasks.push_back(publish(one, each, how.persistent));
    }
    co_await sapwood::when_all(std::move(tasks));
    const amqp_cost cost = meter.stop(each * all.size());
    for (producer& one : all) {
        co_await close(one);
    }
    co_return cost;
}

// Those that consume tell how many batches it took.

task<std::uint64_t> consume(sapwood::amqp::consumer& from, std::uint64_t count) {
    std::vector<sapwood::amqp::delivery> batch;
    std::uint64_t batches = 0;
    for (std::uint64_t done = 0; done < count; done += batch.size(), ++batches) {
        batch.clear();
        if (co_await from.next_many(batch, 256) == 0) {
            throw std::runtime_error("the consumer ended early");
        }
        co_await batch.back().ack_through();
    }
    co_return batches;
}

task<std::uint64_t> consume_one_by_one(sapwood::amqp::consumer& from, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        auto message = co_await from.next();
        if (!message.has_value()) {
            throw std::runtime_error("the consumer ended early");
        }
        co_await message->ack();
    }
    co_return count;
}

/// Acknowledges what is on disk, in order, while more is written.
task<> acknowledge(sapwood::pipeline& log,
                   sapwood::channel<std::pair<sapwood::lsn, sapwood::amqp::delivery>>& of) {
    try {
        while (true) {
            auto next = co_await of.receive();
            co_await log.durable(next.first);
            co_await next.second.ack_through();
        }
    } catch (const std::system_error& failure) {
        if (failure.code() != sapwood::errc::closed) {
            throw;
        }
    }
}

/// As the collector has it.
constexpr std::chrono::milliseconds batch_fills_within(1);

/// At most half of the prefetch at a time, so that there is always something at the broker, on its
/// way, and waiting for the disk.
task<std::uint64_t> consume_into_log(sapwood::amqp::consumer& from, std::uint64_t count,
                                     sapwood::pipeline& log) {
    sapwood::channel<std::pair<sapwood::lsn, sapwood::amqp::delivery>> waiting(256);
    auto acknowledging = sapwood::spawn(acknowledge(log, waiting));
    std::vector<sapwood::amqp::delivery> batch;
    std::uint64_t batches = 0;
    for (std::uint64_t kept = 0; kept < count; kept += batch.size(), ++batches) {
        batch.clear();
        if (co_await from.next_many(batch, 128, batch_fills_within) == 0) {
            throw std::runtime_error("the consumer ended early");
        }
        sapwood::lsn last = sapwood::lsn::none;
        const auto now = sapwood::wall_clock::now();
        for (const auto& each : batch) {
            const sapwood::record_view line{.when = now, .text = each.body()};
            last = log.append_now(line);
            if (last == sapwood::lsn::none) {
                sapwood::record waits(line);
                last = co_await log.append(std::move(waits));
            }
        }
        std::pair<sapwood::lsn, sapwood::amqp::delivery> written(last, std::move(batch.back()));
        co_await waiting.send(std::move(written));
    }
    waiting.close();
    co_await acknowledging;
    co_return batches;
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

/// `run` is given a consumer of a queue that has so many messages.
template <class Run>
task<amqp_cost> measure_consuming(amqp_broker at, std::uint64_t messages, std::uint16_t prefetch,
                                  Run run) {
    producer made;
    co_await open(made, at, 0, 4096);
    co_await publish(made, messages, true);
    auto mq = co_await sapwood::amqp::connect(at.url);
    auto channel = co_await mq.open_channel();
    amqp_meter meter(at.pid);
    meter.start();
    auto from = co_await channel.consume(made.queue, {.prefetch = prefetch});
    const std::uint64_t batches = co_await run(from, messages);
    amqp_cost cost = meter.stop(messages);
    cost.batch = static_cast<double>(messages) / static_cast<double>(batches);
    co_await from.cancel();
    co_await mq.close();
    co_await close(made);
    co_return cost;
}

task<amqp_cost> measure_logging(amqp_broker at, std::uint64_t messages, std::size_t preallocated) {
    const std::string path =
        (std::filesystem::temp_directory_path() / fmt::format("bench_amqp.{}.log", ::getpid()))
            .string();
    const sapwood::file_sink_options file{
        .path = path, .numbered = preallocated > 0, .preallocated_bytes = preallocated};
    const sapwood::pipeline_options options{.durable = sapwood::durability::batch()};
    sapwood::pipeline log = co_await sapwood::pipeline::open(file, options);
    const auto into_log = [&log](sapwood::amqp::consumer& from, std::uint64_t count) {
        return consume_into_log(from, count, log);
    };
    const amqp_cost cost = co_await measure_consuming(at, messages, 256, into_log);
    co_await log.close();
    verify(path, messages);
    std::filesystem::remove(path);
    co_return cost;
}

} // namespace

double cpu_seconds_of(int pid) {
    std::ifstream stat(fmt::format("/proc/{}/stat", pid));
    std::string text;
    std::getline(stat, text);
    // Behind the name, which may have spaces in it: utime and stime are the 12th and the 13th.
    std::istringstream rest(text.substr(std::min(text.rfind(')') + 1, text.size())));
    std::string skipped;
    for (int i = 0; i < 11; ++i) {
        rest >> skipped;
    }
    double user = 0;
    double system = 0;
    rest >> user >> system;
    return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

std::vector<amqp_row> amqp_rows(const amqp_broker& at, std::uint64_t messages) {
    const auto published = [&](std::string name, publishing how) {
        return amqp_row{std::move(name), [at, messages, how] {
                            return sapwood::run(measure_publishing(at, messages, how));
                        }};
    };
    const auto few = std::max<std::uint64_t>(1, messages / 5);
    return {
        published("published, persistent, confirmed", {}),
        published("the same, a window of 65536", {.window = 65536}),
        published("the same, 4 connections and queues", {.connections = 4}),
        published("the same, not persistent", {.persistent = false}),
        {"prefetch 256, batches into a durable log, acked",
         [at, messages] { return sapwood::run(measure_logging(at, messages, 0)); }},
        {"prefetch 256, the same, space preallocated",
         [at, messages] { return sapwood::run(measure_logging(at, messages, 1u << 20)); }},
        {"prefetch 256, batches acked",
         [at, messages] { return sapwood::run(measure_consuming(at, messages, 256, consume)); }},
        {"prefetch 1, acked",
         [at, few] { return sapwood::run(measure_consuming(at, few, 1, consume_one_by_one)); }},
    };
}

} // namespace bench
