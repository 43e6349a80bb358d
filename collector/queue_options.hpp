// queue_options: a broker's queue (AMQP 0-9-1, RabbitMQ) that a collector consumes into one of its
// logs; and the place that a URL with a password comes from. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sapwood::collector {

struct queue_options {
    /// amqp://user:password@host/vhost. A secret.
    std::string url;
    /// Declared, durable, where it is not there; taken as it is where it is.
    std::string queue;
    /// Where its messages go; empty is the first.
    std::string log;
    /// Messages that are delivered and not acknowledged, 1 to 65535.
    std::uint16_t prefetch = 256;

    friend bool operator==(const queue_options&, const queue_options&) = default;
};

/// Whether there are queues in this build.
[[nodiscard]] bool can_consume_queues() noexcept;

/// Throws std::invalid_argument that says what is wrong, without the password; also where there are
/// no queues in this build.
void require_valid(const queue_options& options);

/// Whether both are the same queue of the same broker, as far as their URLs say it. Of valid ones.
[[nodiscard]] bool is_one_queue(const queue_options& one, const queue_options& other);

/// A URL is itself. Anything else is a file whose first line is the URL, which nobody else may read
/// (see read_tokens), or a `credential:NAME`. Throws std::exception.
[[nodiscard]] std::string broker_url(const std::string& text);

/// Text of anybody's as a word that needs no quotes, in lines, labels and sentences alike: what is
/// no letter, digit or one of `._-/:@+` is `%` and two digits.
[[nodiscard]] std::string as_word(std::string_view text);

} // namespace sapwood::collector
