// "Hello World!" by way of RabbitMQ: one program sends it to a queue, another one receives it.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/amqp.hpp>
#include <sapwood/run.hpp>

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

    command_line line(
        "Says hello by way of RabbitMQ.",
        "Exit status: 0 done; 1 the broker cannot be reached, or refuses; 2 bad arguments.");
    line.text({"--url", "The broker", "URL"}, url);
    line.subcommand("send", "Send 'Hello World!'");
    auto& receiving = line.subcommand("receive", "Print what arrives");
    receiving.number({"--count", "End after so many messages; 0: never", "N"}, count);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }

    try {
        sapwood::run(receiving.was_given() ? receive(url, count) : send(url));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "amqp_hello: {}\n", failure.what());
        return 1;
    }
}
