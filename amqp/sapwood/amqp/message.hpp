// Messages: their properties, and a delivery, which is one that a broker has given to a consumer
// and waits to hear about. Loop thread only.
#pragma once

#include <sapwood/amqp/field.hpp>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace sapwood::amqp {

namespace detail {

class channel_state;
struct delivered;

} // namespace detail

struct properties {
    std::string content_type;
    std::string content_encoding;
    table headers;
    /// It has headers that are not shown: deeper than table_depth_max, more values than
    /// table_values_max, or such as nobody can read.
    bool are_headers_left_out = false;
    /// Survives the broker's restart, in a durable queue.
    bool is_persistent = false;
    std::uint8_t priority = 0;
    std::string correlation_id;
    std::string reply_to;
    /// Milliseconds, as text.
    std::string expiration;
    std::string message_id;
    /// Seconds since 1970; 0 where there is none.
    std::uint64_t timestamp = 0;
    std::string type;
    std::string user_id;
    std::string app_id;
};

/// What becomes of settling a delivery, known at once: nothing has to be waited for, because the
/// protocol has no answer to it. It is sent with what the loop sends next.
class [[nodiscard]] settled {
  public:
    explicit settled(bool was_sent) noexcept : was_sent_(was_sent) {}

    [[nodiscard]] bool await_ready() const noexcept { return true; }

    void await_suspend(std::coroutine_handle<>) const noexcept {}

    /// False: the connection that the delivery came by is gone, or it was settled already. Nothing
    /// was sent; where it was not settled, the broker delivers the message again.
    bool await_resume() const noexcept { return was_sent_; }

  private:
    bool was_sent_;
};

/// A message, and the duty to settle it, once. One that is destroyed before stays the consumer's in
/// the broker's eyes, until the channel is closed; then it is delivered again. May outlive the
/// consumer, the channel and the connection.
class delivery {
  public:
    explicit delivery(std::unique_ptr<detail::delivered> from) noexcept;
    delivery(delivery&&) noexcept;
    delivery& operator=(delivery&&) noexcept;
    ~delivery();

    [[nodiscard]] std::string_view body() const noexcept;

    /// Its body's end is missing: it was longer than consume_options::body_bytes_max.
    [[nodiscard]] bool is_cut() const noexcept { return body_bytes() > body().size(); }

    /// How long the body is that was published.
    [[nodiscard]] std::uint64_t body_bytes() const noexcept;

    [[nodiscard]] const properties& props() const noexcept;
    [[nodiscard]] std::string_view exchange() const noexcept;
    [[nodiscard]] std::string_view routing_key() const noexcept;

    /// It was delivered before, to whomever, and not acknowledged.
    [[nodiscard]] bool is_redelivered() const noexcept;

    /// Its number on its channel and connection.
    [[nodiscard]] std::uint64_t tag() const noexcept;

    /// It has been dealt with: the broker forgets it.
    settled ack() noexcept;

    /// This and all that came before it on its channel, and are not settled: also what the
    /// channel's other consumers have, who may get more than their prefetch then, which breaks the
    /// connection off. For channels with one consumer.
    settled ack_through() noexcept;

    /// It never will be: it goes to the dead-letter exchange of its queue, and is dropped where
    /// there is none.
    settled reject() noexcept;

    /// Somebody else is to try. Not for what fails everywhere: it would go round for ever.
    settled requeue() noexcept;

  private:
    std::unique_ptr<detail::delivered> it_;
};

} // namespace sapwood::amqp
