// channel_state: what a channel is to its connection, its handle, its consumers and deliveries,
// which all share it. It has a link's channel while it is ready; when the link is lost, what waits
// is asked again on the next one. Loop thread only.
#pragma once

#include "link.hpp"
#include "publish_window.hpp"

#include <sapwood/amqp/channel.hpp>

#include <sapwood/channel.hpp>
#include <sapwood/event.hpp>
#include <sapwood/mutex.hpp>
#include <sapwood/random_backoff.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace sapwood::amqp::detail {

class connection_state;

/// A text that says more, in `to`; without memory, not there.
inline void copy_if_possible(std::string_view text, std::string& to) noexcept {
    try {
        to = text;
    } catch (const std::bad_alloc&) {
        to.clear();
    }
}

/// What a delivery is made of.
struct delivered {
    std::shared_ptr<channel_state> of;
    /// Which of the channel's links it came by.
    std::uint64_t epoch = 0;
    std::uint64_t tag = 0;
    bool is_redelivered = false;
    std::string exchange;
    std::string routing_key;
    properties props;
    std::string body;
    /// That were published: `body` may have fewer.
    std::uint64_t body_bytes = 0;
};

struct consumer_state {
    explicit consumer_state(std::size_t prefetch) : inbox(prefetch) {}

    std::shared_ptr<channel_state> of;
    std::string tag;
    /// The methods that begin it, qos and consume: together, so that no link sees one of them only.
    std::string frames;
    std::size_t body_bytes_max = 0;
    bool cuts_long_bodies = false;
    sapwood::channel<delivery> inbox;
    /// Who wait for more than the first message: batch_waits.
    waiter_list filling;
    /// When the last batch was taken.
    clock::time_point taken_at{};
    /// It has begun, and begins again on the next link.
    bool is_begun = false;
    /// Why it has ended; errc::closed where its owner wanted that.
    std::error_code why;
    std::string text;
};

/// What the broker answers to a method.
struct answer {
    std::string text;
    std::uint32_t first = 0;
    std::uint32_t second = 0;
};

enum class settlement : std::uint8_t { ack, ack_through, reject, requeue };

class channel_state : public std::enable_shared_from_this<channel_state> {
  public:
    channel_state(connection_state& of, std::uint16_t number);

    // --- the connection's ---

    /// What is declared on it, as it is sent again.
    struct declared {
        std::string frames;
        amqp_method_number_t expected;
        /// Among all of the connection.
        std::uint64_t place;
    };

    // Opened on the link that is up, with all that was on it: one after the other, and each of all
    // channels before the next one, as one may need what another has declared. They throw
    // std::system_error where the link is lost or the channel is over.

    [[nodiscard]] task<> open();
    /// The first that was declared behind `place`; null where there is none.
    [[nodiscard]] const declared* declared_behind(std::uint64_t place) const noexcept;
    [[nodiscard]] task<> declare_again(std::string frames, amqp_method_number_t expected);
    [[nodiscard]] task<> consume_again();
    /// Its callers go on.
    void become_ready();

    void link_lost() noexcept;

    /// It is over: all that waits is told why.
    void end(std::error_code why, std::string_view text) noexcept;

    /// The connection is gone, and must not be used.
    void connection_over() noexcept { mq_ = nullptr; }

    /// Frames of this channel. Throws std::system_error where they break the rules.
    void take(const frame& from, decoder& methods);

    /// The broker takes messages again, or does no longer.
    void blocked_changed();

    /// Of messages and of what settles deliveries, that may wait to be sent at a time.
    [[nodiscard]] std::size_t sent_bytes_max() const noexcept;

    [[nodiscard]] bool is_ready() const noexcept { return ready_.is_set(); }

    [[nodiscard]] std::uint16_t number() const noexcept { return number_; }

    /// The broker has let go of its number.
    [[nodiscard]] bool is_number_free() const noexcept { return is_number_free_; }

    [[nodiscard]] task<> wait_until_ready();

    // --- the handle's ---

    /// Sends `frames`, which the broker answers with `expected`; again where the link is lost.
    /// `what` is for errors: "declare queue 'a'". So many answers come before, and mean nothing.
    [[nodiscard]] task<answer> call(std::string frames, amqp_method_number_t expected,
                                    std::string what, std::size_t unheard = 0);

    /// The same, and declared again on later links.
    [[nodiscard]] task<answer> declare(std::string frames, amqp_method_number_t expected,
                                       std::string what);

    // No longer declared again, whichever channel has declared it. `frames` are the binding's.

    void forget_binding(const std::string& frames);
    /// With its bindings.
    void forget_queue(std::string_view name);
    /// With its bindings.
    void forget_exchange(std::string_view name);

    [[nodiscard]] task<> publish(outgoing_ptr it);
    [[nodiscard]] publication publish_nowait(outgoing_ptr it);
    [[nodiscard]] task<> room();
    [[nodiscard]] task<> confirmed(std::uint64_t last);

    [[nodiscard]] publish_window& window() noexcept { return window_; }

    [[nodiscard]] outgoing_ptr encode(std::string_view exchange, std::string_view routing_key,
                                      std::string_view body, const publish_options& options);

    [[nodiscard]] task<std::shared_ptr<consumer_state>>
    consume(std::shared_ptr<consumer_state> made);
    [[nodiscard]] task<> cancel(std::shared_ptr<consumer_state> which);
    /// Without waiting for the broker.
    void drop(consumer_state& which) noexcept;

    /// Whether it was sent.
    bool settle(std::uint64_t epoch, std::uint64_t tag, settlement how) noexcept;

    [[nodiscard]] task<> close();
    /// Without waiting for the broker.
    void abandon() noexcept;

    /// Of a message that nobody has any more: the next one has its memory.
    void take_back(std::unique_ptr<delivered> it) noexcept;

    /// How many deliveries of the link that is up are not settled.
    [[nodiscard]] std::size_t unsettled() const noexcept { return unsettled_.size(); }

    [[nodiscard]] bool is_over() const noexcept { return is_over_; }

    void require_open() const;

    [[nodiscard]] std::string make_name(std::string_view prefix);

  private:
    struct pending_call;

    /// A message that comes, in frames.
    struct arriving {
        enum class stage : std::uint8_t { none, header, body };

        /// A message that was returned.
        struct going_back {
            returned_message which;
            std::error_code why;
            std::string text;
        };

        stage at = stage::none;
        /// A delivery, and for whom.
        std::unique_ptr<delivered> it;
        std::shared_ptr<consumer_state> to;
        /// Otherwise that.
        std::unique_ptr<going_back> back;
        std::uint64_t bytes_left = 0;
        /// Of the body, that are still to be kept.
        std::uint64_t kept_left = 0;
    };

    [[nodiscard]] task<std::optional<answer>>
    ask(std::string_view frames, amqp_method_number_t expected, std::size_t unheard = 0);
    [[nodiscard]] task<> ask_or_throw(std::string_view frames, amqp_method_number_t expected,
                                      std::size_t unheard = 0);
    void put(amqp_method_number_t id, const void* it);
    void forget_everywhere(const std::function<bool(const declared&)>& is_it);
    void take_method(const method& said);
    void take_answer(const method& said);
    void take_close(const amqp_channel_close_t& said);
    void take_deliver(const amqp_basic_deliver_t& said);
    void take_confirm(std::uint64_t tag, bool multiple, bool is_refused);
    void take_return(const amqp_basic_return_t& said);
    void take_header(const content_header& header);
    void take_body(std::string_view bytes);
    void finish_arriving();
    void give(delivery made, consumer_state& to);
    void put_settlement(std::uint64_t tag, settlement how);
    void tell_rejected(const delivery& which, const consumer_state& of);
    void take_cancel(std::string_view tag);
    static void end_consumer(consumer_state& which, std::error_code why,
                             std::string_view text) noexcept;
    void forget_link() noexcept;
    void let_go_of_number();
    void send_or_throw(outgoing_ptr it);
    void send_published();
    void wake_publishers() noexcept;
    [[nodiscard]] task<> retry_refused();
    [[nodiscard]] task<> wait_for_room(std::size_t bytes);
    [[nodiscard]] bool may_publish(std::size_t bytes) const;

    /// Null once the connection is over.
    connection_state* mq_;
    const std::uint16_t number_;
    event ready_;
    bool is_over_ = false;
    bool is_number_free_ = false;
    /// The broker was asked to open it, on the link that is up, and then to close it.
    bool is_open_sent_ = false;
    bool is_close_sent_ = false;
    std::error_code why_;
    std::string text_;

    /// One call at a time; another waits for its turn.
    mutex turn_;
    /// Null where nobody waits for the answer any more.
    std::deque<pending_call*> calls_;

    std::vector<declared> declared_;

    publish_window window_;
    /// Of the message for which publish_nowait had no room.
    std::size_t refused_bytes_ = 0;
    /// Whose turn it is to wait for room.
    mutex entry_;
    /// Somebody has waited for room and had his turn: publish_nowait need not wait for another one,
    /// which those who wait by room() would have in turns for ever, and none of them would publish.
    bool has_had_turn_ = false;
    event room_;
    bool is_retrying_ = false;
    sapwood::detail::random_backoff retry_backoff_;
    const std::string id_prefix_;
    std::uint64_t ids_made_;

    std::vector<std::shared_ptr<consumer_state>> consumers_;
    std::uint64_t epoch_ = 0;
    /// Tags of deliveries of this epoch that are not settled, in order.
    std::deque<std::uint64_t> unsettled_;
    std::uint64_t last_tag_ = 0;
    arriving arriving_;
    /// Empty ones. As many as were reserved: none before something is consumed.
    std::vector<std::unique_ptr<delivered>> spare_;
};

} // namespace sapwood::amqp::detail
