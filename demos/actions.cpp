// The last scheme of the story that sapwood comes from, with the log that it had: requests come in,
// a handler puts (time, body) into a queue and answers at once; a consumer takes them out, one
// action each, and saves them, an action inside. An exception becomes an action of its own, with
// the error and the message. `sapwood tree` shows the log as what it is, a tree for each task. Each
// request comes with a `traceparent`, as those of services that trace do, and is in that trace.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/log_call.hpp>
#include <sapwood/sapwood.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace std::chrono_literals;
using sapwood::kv;

/// What the handler puts into the queue.
struct message {
    std::string timestamp;
    std::string body;
    /// The place in the log that it comes from, so that what the consumer does hangs below it.
    std::string task_id;
};

struct settings {
    std::string log = "actions.json";
    std::string out = "requests.txt";
    int requests = 3;
};

struct service {
    sapwood::logger log;
    sapwood::file out = {};
    sapwood::channel<message> queue{100};
};

std::string time_text() {
    const std::time_t now = std::time(nullptr);
    char text[64];
    std::tm broken_down{};
    (void)::gmtime_r(&now, &broken_down);
    return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &broken_down)};
}

/// The handler of a POST. The caller has its answer before anything is saved.
sapwood::task<std::string> post(service& with, std::string body) {
    if (!body.starts_with('{')) {
        throw std::invalid_argument("the body is not JSON: " + body);
    }
    message one{time_text(), std::move(body), with.log.serialize_task_id()};
    co_await with.queue.send(std::move(one));
    co_return R"({"status": "1", "result": "success"})";
}

sapwood::task<> save_request_body(service& with, const message& one) {
    auto action = with.log.start_action("save_request_body", kv("timestamp", one.timestamp),
                                        kv("msg", one.body));
    if (one.body.find("\"disk\": \"full\"") != std::string::npos) {
        throw std::runtime_error("no space left for this one");
    }
    const std::string line = fmt::format("{} {}\n", one.timestamp, one.body);
    co_await with.out.write_all(line);
    action.add_success(kv("bytes", line.size()));
}

/// For ever: takes a message out, and saves it.
sapwood::task<> consume(service& with) {
    while (true) {
        const message one = co_await with.queue.receive();
        auto action = with.log.continue_task(one.task_id, "consume_msg",
                                             kv("queue_length", with.queue.size()));
        try {
            co_await save_request_body(with, one);
        } catch (const std::exception& error) {
            auto told =
                with.log.start_action("exception", kv("error", error.what()), kv("msg", one.body));
        }
        action.succeed();
        with.queue.task_done();
    }
}

std::string body_of(int number) {
    switch (number) {
    case 2:
        return R"({"disk": "full"})";
    case 3:
        return "no JSON";
    case 4:
        return "{\n\"\\\x1b\u2028\"},{\"task_uuid\":"; // somebody tries
    default:
        return fmt::format(R"({{"number": {}}})", number);
    }
}

/// What a caller sends that traces its requests.
std::string traceparent_of(int number) {
    return fmt::format("00-{:032x}-{:016x}-01", number, number);
}

std::string escaped(std::string_view text) {
    std::string shown;
    sapwood::escape(text, shown);
    return shown;
}

/// A task in the caller's trace. `traceparent` is what requests that are made meanwhile are to say.
sapwood::task<std::string> handle(service& with, const std::string& header,
                                  const std::string& body) {
    auto action = with.log.continue_trace(header, "request");
    const std::string answer = co_await with.log.call(
        {.name = "post", .arguments = "service, body", .redact = "service"}, post, with, body);
    co_return fmt::format("{}, traceparent {}", answer, with.log.traceparent());
}

sapwood::task<> serve(service& with, int requests) {
    auto consumer = sapwood::spawn(consume(with));
    for (int number = 1; number <= requests; ++number) {
        const std::string body = body_of(number);
        co_await with.log.room(); // a tree that lacks records tells little
        try {
            const std::string header = traceparent_of(number);
            const std::string answer = co_await handle(with, header, body);
            print_line("POST {} -> 200 {}", escaped(body), answer);
        } catch (const std::invalid_argument& error) {
            print_line("POST {} -> 400 {}", escaped(body), error.what());
        }
    }
    co_await with.queue.join();
    consumer.cancel(); // it still waits for a message
}

sapwood::task<> run(const settings& with) {
    sapwood::logger_options options;
    options.outputs.push_back({.sink = std::make_unique<sapwood::file_log_sink>(with.log),
                               .form = std::make_unique<sapwood::json_layout>()});
    const sapwood::logger log(std::move(options));
    service all{.log = log};
    all.out = co_await sapwood::file::open(with.out,
                                           {.flags = O_WRONLY | O_APPEND | O_CREAT, .mode = 0600});
    co_await serve(all, with.requests);
    co_await all.out.close();
    co_await log.close();
    print_line(
        "the log is {}: see it by `sapwood tree {}`, the program that ./dev install installs",
        with.log, with.log);
}

} // namespace

int main(int argc, char** argv) {
    settings with;
    command_line line(
        "Requests, a queue and a consumer, and the tree of actions that their log is.");
    line.text({"--log", "The log, a line of JSON for each record", "FILE"}, with.log);
    line.text({"--out", "Where requests are saved", "FILE"}, with.out);
    line.number({"--requests",
                 "The second cannot be saved, the third is no JSON, the fourth is hostile", "N"},
                with.requests, 0, 1'000'000);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }
    try {
        sapwood::run(run(with));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "actions: {}\n", failure.what());
        return 1;
    }
}
