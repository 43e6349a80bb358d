// amqp_log_sink: an output of a logger's that publishes each line as a message, and has written it
// when the broker has confirmed it. What the broker has not confirmed comes again; what is in the
// channel's window meanwhile is not published a second time. On the log's loop.
#pragma once

#include <sapwood/amqp/connection.hpp>

#include <sapwood/log_sink.hpp>
#include <sapwood/random_backoff.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace sapwood {

struct amqp_log_sink_options {
    /// amqp://user:password@host/vhost; empty: `connection.to`.
    std::string url;
    /// Empty: the default one, whose routing keys are the names of queues.
    std::string exchange{};
    std::string routing_key;
    /// With the default exchange: the queue is declared, durable, where it is not there. Where it
    /// is, it is taken as it is.
    bool declare = true;
    /// Of the messages; empty: what a line looks like, application/json or text/plain.
    std::string content_type{};
    /// Of the messages: whose they are.
    std::string app_id;
    /// A broker that confirms nothing for so long counts as failing; and so long the end of the log
    /// waits for it.
    clock::duration give_up_after = std::chrono::seconds(10);
    /// Whether open() fails where no broker is there. Otherwise the log starts all the same, and
    /// connects when it first writes.
    bool must_connect = false;
    /// All else: heartbeats, hosts, windows. It is always made again where it breaks, and at most
    /// 512 messages are not confirmed.
    amqp::connection_options connection = {};
};

class amqp_log_sink final : public log_sink {
  public:
    /// Throws std::invalid_argument, naming the option.
    explicit amqp_log_sink(amqp_log_sink_options options);
    ~amqp_log_sink() override;

    [[nodiscard]] task<> open() override;

    /// Returns when all are confirmed. Otherwise throws, and says how many in front are.
    [[nodiscard]] task<> write(std::span<const char> lines) override;

    [[nodiscard]] task<> close() override;

    /// `amqp://user@host:5672/, queue logs`: without the password.
    [[nodiscard]] std::string describe() const override;

    /// The child has a connection of its own. The parent's socket stays open in it, unused.
    [[nodiscard]] task<> open_in_child() override;

  private:
    /// A line that has been given to the channel, or is to be again.
    struct piece {
        /// In held_, behind its newline.
        std::size_t end = 0;
        /// None: it failed, and is to be published again.
        amqp::publication number = amqp::publication::none;
        bool is_confirmed = false;
    };

    [[nodiscard]] task<> connect();
    [[nodiscard]] task<> open_channel();
    void hold(std::string_view lines);
    [[nodiscard]] task<> publish_held();
    void note_failures();
    void look_at_confirms();
    [[nodiscard]] std::size_t forget_confirmed();

    amqp_log_sink_options options_;
    detail::random_backoff backoff_;
    amqp::connection mq_;
    amqp::channel channel_;
    bool is_connected_ = false;
    bool has_channel_ = false;
    /// Not before then.
    clock::time_point next_attempt_{};
    std::error_code last_failure_;
    /// The lines of the write that is under way, or that has failed and comes again.
    std::string held_;
    std::vector<piece> pieces_;
    /// Of the write that is under way.
    std::error_code failure_;
};

} // namespace sapwood
