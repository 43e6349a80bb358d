// The log of several machines: producers anywhere publish records to a durable exchange, RabbitMQ
// keeps them, a consumer writes them into one durable log. What is acknowledged is on disk; what
// comes twice, since somebody was killed in between, is one line.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/amqp.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/run.hpp>
#include <sapwood/signal_set.hpp>
#include <sapwood/spawn.hpp>

#include <csignal>
#include <cstdint>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using sapwood::task;

struct settings {
    std::string url = "amqp://guest:guest@localhost/";
    std::string path = "amqp.log";
    std::string name = "sapwood.log";
    std::string flag = "demo";
    std::uint64_t produced = 10;
    /// 0: until a signal comes.
    std::uint64_t consumed = 0;
    std::uint16_t prefetch = 1;
};

task<> declare(sapwood::amqp::channel& on, const std::string& name) {
    co_await on.declare_exchange({.name = name});
    (void)co_await on.declare_queue({.name = name});
    co_await on.bind({.queue = name, .exchange = name, .routing_key = "record"});
}

task<> produce(const settings& with) {
    auto mq = co_await sapwood::amqp::connect(with.url);
    auto channel = co_await mq.open_channel();
    co_await declare(channel, with.name);
    for (std::uint64_t i = 1; i <= with.produced; ++i) {
        const std::string body = fmt::format(R"({{"flag":"{}","number":{}}})", with.flag, i);
        while (channel.publish_nowait(with.name, "record", body) ==
               sapwood::amqp::publication::none) {
            co_await channel.room();
        }
    }
    co_await channel.confirmed(); // each is on the broker's disk
    print_line(" [x] {} records are the broker's", with.produced);
    co_await mq.close();
}

/// An id as one word of a line.
std::string word(std::string_view id) {
    std::string text;
    for (const char each : id) {
        const bool is_plain = (each >= '0' && each <= '9') || (each >= 'A' && each <= 'Z') ||
                              (each >= 'a' && each <= 'z') || each == '-' || each == '_';
        text += is_plain ? std::string(1, each)
                         : fmt::format("%{:02x}", static_cast<unsigned char>(each));
    }
    return text;
}

constexpr std::string_view id_mark = "id=";

/// Those of the log's last lines: what was written and, perhaps, not acknowledged. Of an open log:
/// a line that was torn is moved aside then, and its message is to be written again.
sapwood::amqp::recent_ids ids_of(const std::string& path) {
    constexpr std::streamoff tail_bytes = 8 << 20;
    constexpr std::size_t ids_max = 65536;
    sapwood::amqp::recent_ids ids(ids_max);
    std::ifstream log(path, std::ios::binary | std::ios::ate);
    const std::streamoff size = log ? static_cast<std::streamoff>(log.tellg()) : 0;
    log.seekg(size > tail_bytes ? size - tail_bytes : 0);
    std::string line;
    if (size > tail_bytes) {
        std::getline(log, line); // its beginning is missing
    }
    while (std::getline(log, line) && !log.eof()) {
        if (const auto at = line.find(id_mark); at != line.npos) {
            const std::string_view rest = std::string_view(line).substr(at + id_mark.size());
            (void)ids.insert(rest.substr(0, rest.find(' ')));
        }
    }
    return ids;
}

/// A batch: written, synced, then acknowledged together.
task<> keep(sapwood::pipeline& log, sapwood::amqp::recent_ids& ids,
            std::vector<sapwood::amqp::delivery>& batch) {
    sapwood::lsn last = sapwood::lsn::none;
    for (const auto& each : batch) {
        const std::string id = word(each.props().message_id);
        if (ids.insert(id)) {
            sapwood::record line(sapwood::level::info, 0,
                                 fmt::format("{}{} {}", id_mark, id, each.body()));
            last = co_await log.append(std::move(line));
        }
    }
    if (last != sapwood::lsn::none) {
        co_await log.durable(last);
    }
    co_await batch.back().ack_through();
}

task<> end_at_signal(sapwood::amqp::consumer& which) {
    sapwood::signal_set signals{SIGINT, SIGTERM};
    (void)co_await signals.next();
    co_await which.cancel();
}

task<> consume(const settings& with) {
    const sapwood::file_sink_options file{.path = with.path};
    const sapwood::pipeline_options options{.durable = sapwood::durability::batch()};
    sapwood::pipeline log = co_await sapwood::pipeline::open(file, options);
    sapwood::amqp::recent_ids ids = ids_of(with.path);
    auto mq = co_await sapwood::amqp::connect(with.url);
    auto channel = co_await mq.open_channel();
    co_await declare(channel, with.name);
    auto deliveries = co_await channel.consume(with.name, {.prefetch = with.prefetch});
    print_line(" [*] Waiting for messages...");
    auto ending = sapwood::spawn(end_at_signal(deliveries));
    std::vector<sapwood::amqp::delivery> batch;
    std::uint64_t kept = 0;
    while (co_await deliveries.next_many(batch, with.prefetch) > 0) {
        co_await keep(log, ids, batch);
        kept += batch.size();
        batch.clear();
        if (with.consumed > 0 && kept >= with.consumed) {
            ending.cancel();
            break;
        }
    }
    co_await mq.close();
    co_await log.close();
    print_line(" [x] {} messages acknowledged, {} lines in {}", kept, log.counts().lines_written,
               with.path);
}

} // namespace

int main(int argc, char** argv) {
    settings with;

    command_line line("A durable log by way of RabbitMQ.",
                      "Ctrl-C or SIGTERM: consume acknowledges what is on disk and exits with 0.\n"
                      "Exit status: 0 done; 1 the broker or the log refuses; 2 bad arguments.");
    line.text({"--url", "The broker", "URL"}, with.url);
    line.text({"--queue", "The exchange and the queue", "NAME"}, with.name);
    auto& producing = line.subcommand("produce", "Publish records");
    producing.number({"--count", "How many", "N"}, with.produced);
    producing.text({"--flag", "What their flag says", "TEXT"}, with.flag);
    auto& consuming = line.subcommand("consume", "Write them to a log");
    consuming.text({"--log", "The log", "PATH"}, with.path);
    consuming.number({"--prefetch", "Messages at a time, synced together", "N"}, with.prefetch,
                     std::uint16_t{1}, std::uint16_t{65535});
    consuming.number({"--count", "End after so many messages; 0: at a signal", "N"}, with.consumed);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }

    try {
        sapwood::run(consuming.was_given() ? consume(with) : produce(with));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "amqp_log: {}\n", failure.what());
        return 1;
    }
}
