// "Hello World!" by way of RabbitMQ: one program sends it to a queue, another one receives it.
#include "print_line.hpp"

#include <sapwood/amqp.hpp>
#include <sapwood/run.hpp>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <exception>
#include <fmt/format.h>
#include <string>

namespace {

using sapwood::task;

/// As other programs of this kind declare it, so that they and this one can talk.
constexpr sapwood::amqp::queue_options hello{.name = "hello", .durable = false};

task<> send(const std::string& url) {
    auto mq = co_await sapwood::amqp::connect(url);
    auto channel = co_await mq.open_channel();
    (void)co_await channel.declare_queue(hello);
    co_await channel.publish("", "hello", "Hello World!"); // returns when the broker has it
    print_line(" [x] Sent 'Hello World!'");
    co_await mq.close();
}

task<> receive(const std::string& url, std::uint64_t count) {
    auto mq = co_await sapwood::amqp::connect(url);
    auto channel = co_await mq.open_channel();
    (void)co_await channel.declare_queue(hello);
    auto deliveries = co_await channel.consume("hello", {.prefetch = 1});
    print_line(" [*] Waiting for messages. To exit press CTRL+C");
    while (auto message = co_await deliveries.next()) {
        print_line(" [x] Received '{}'", message->body());
        co_await message->ack();
        if (--count == 0) {
            break;
        }
    }
    co_await mq.close();
}

} // namespace

int main(int argc, char** argv) {
    std::string url = "amqp://guest:guest@localhost/";
    std::uint64_t count = 0;

    CLI::App app("Says hello by way of RabbitMQ.");
    app.add_option("--url", url, "The broker")->type_name("URL")->capture_default_str();
    app.require_subcommand(1);
    app.add_subcommand("send", "Send 'Hello World!'")->fallthrough();
    auto* const receiving = app.add_subcommand("receive", "Print what arrives")->fallthrough();
    receiving->add_option("--count", count, "End after so many messages; 0: never")
        ->type_name("N")
        ->capture_default_str();
    app.set_version_flag("--version", SAPWOOD_VERSION);
    app.footer("Exit status: 0 done; 1 the broker cannot be reached, or refuses; 2 bad arguments.");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem) == 0 ? 0 : 2;
    }

    try {
        sapwood::run(receiving->parsed() ? receive(url, count) : send(url));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "amqp_hello: {}\n", failure.what());
        return 1;
    }
}
