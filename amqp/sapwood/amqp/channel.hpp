// channel: a conversation of a connection's, in which things are declared, published and consumed.
// Confirms are always on. Where the connection breaks, the channel is opened again on the next one,
// with what was declared on it, its consumers and its unconfirmed messages. Where the broker closes
// it, for a mistake, all that waits on it is told why, and it is over. Loop thread only.
#pragma once

#include <sapwood/amqp/consumer.hpp>
#include <sapwood/amqp/topology.hpp>

#include <sapwood/task.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace sapwood::amqp {

/// The place of a message among those that were published on a channel: 1, 2, 3 ...
enum class publication : std::uint64_t { none = 0 };

/// A message that publish_nowait took and that no queue will have.
struct failed_publication {
    publication number = publication::none;
    std::string message_id;
    std::error_code why;
};

class channel {
  public:
    channel() = default;
    explicit channel(std::shared_ptr<detail::channel_state> from) noexcept;
    channel(channel&&) noexcept = default;
    channel& operator=(channel&&) noexcept;

    /// Without a close() before: what was published is sent, and nobody hears of it any more.
    ~channel();

    // What is declared is declared again after a reconnection, as long as this channel is open and
    // nobody deletes it, unless it is passive. Each throws std::system_error: an amqp::errc with
    // the broker's words, which closes the channel; std::errc::timed_out, where the answer takes
    // longer than answer_within, also while there is no connection; and `cancelled`.

    [[nodiscard]] task<queue_info> declare_queue(const queue_options& options);
    [[nodiscard]] task<> declare_exchange(const exchange_options& options);
    [[nodiscard]] task<> bind(const binding_options& options);
    [[nodiscard]] task<> unbind(const binding_options& options);
    /// How many messages it had.
    [[nodiscard]] task<std::uint32_t> delete_queue(std::string_view name);
    [[nodiscard]] task<> delete_exchange(std::string_view name);
    [[nodiscard]] task<std::uint32_t> purge_queue(std::string_view name);

    /// Publishes, and returns when the broker has confirmed: a persistent message is then on its
    /// disk, in each durable queue that takes it; in a quorum queue, a majority's. Waits where the
    /// window of unconfirmed messages is full, the connection is down, or the broker blocks
    /// publishers. What the broker refuses (nack) is published again, later and later. Throws
    /// std::system_error: errc::no_route where it was returned, or why the channel is over.
    /// Cancelled, or timed out, once it is in the window, it is published all the same.
    [[nodiscard]] task<> publish(std::string_view exchange, std::string_view routing_key,
                                 std::string_view body, const publish_options& options = {});

    /// Puts a message into the window and returns its number; publication::none where there is no
    /// room: co_await room(). Failures are told by confirmed(). Throws std::system_error where the
    /// channel is over.
    [[nodiscard]] publication publish_nowait(std::string_view exchange,
                                             std::string_view routing_key, std::string_view body,
                                             const publish_options& options = {});

    /// Returns when publish_nowait would take a message. Tasks that wait, here or to publish, have
    /// their turns in order. Throws std::system_error where the channel is over; `cancelled`.
    [[nodiscard]] task<> room();

    /// Returns when no message up to `last` waits to be confirmed any more; by default all that
    /// were published before. Throws std::system_error where some of these that publish_nowait took
    /// have failed and nobody was told so before this call: with the first's reason, and how many;
    /// take_failures() has each. All whom a failure concerns and who wait at that time are told.
    [[nodiscard]] task<> confirmed(publication last = publication::none);

    /// Those that confirmed() has told of, or will; the oldest 1024. Forgets them.
    [[nodiscard]] std::vector<failed_publication> take_failures();

    /// In the window.
    [[nodiscard]] std::size_t unconfirmed() const noexcept;

    /// No message up to this one waits to be confirmed: it is, or it has failed.
    [[nodiscard]] publication settled() const noexcept;

    [[nodiscard]] task<consumer> consume(std::string_view queue,
                                         const consume_options& options = {});

    /// Waits for what is unconfirmed, then closes. Its consumers end. Throws std::system_error,
    /// with std::errc::timed_out where the broker does not answer, and `cancelled`: the channel is
    /// over then, if the broker was told of it (is_closed()), and otherwise goes on.
    [[nodiscard]] task<> close();

    /// The broker, or its owner, has closed it, or the connection is over.
    [[nodiscard]] bool is_closed() const noexcept;

  private:
    std::shared_ptr<detail::channel_state> it_;
};

} // namespace sapwood::amqp
