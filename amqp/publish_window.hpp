// publish_window: the messages of a channel that were published and are not confirmed, encoded, so
// that they can be sent again as they are: after a nack, and on the next connection. It is bounded;
// who publishes waits for room. Confirms come in any order and for many at once. Loop thread only.
#pragma once

#include <sapwood/amqp/channel.hpp>

#include <sapwood/event.hpp>
#include <sapwood/mutex.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace sapwood::amqp::detail {

/// A message on its way. Held by the window until it is settled, and by who awaits that.
struct outgoing {
    std::string frames;
    std::string message_id;
    std::uint64_t number = 0;
    /// Its publisher awaits it, and is told.
    bool is_awaited = false;
    bool is_settled = false;
    /// Why no queue has it; none where one does.
    std::error_code why;
    std::string text;
    /// It is settled.
    event over;
};

using outgoing_ptr = std::shared_ptr<outgoing>;

/// What a broker says of a message that it gives back.
struct returned_message {
    std::string exchange;
    std::string routing_key;
    std::string message_id;
};

struct window_limits {
    std::size_t messages;
    std::size_t bytes;
};

class publish_window;

/// Who waits until all up to `last` are settled, and is told which of them have failed, also where
/// somebody else is told before. Lives in his frame; the window must outlive it.
class confirmation {
  public:
    confirmation(publish_window& of, std::uint64_t last);
    confirmation(const confirmation&) = delete;
    confirmation& operator=(const confirmation&) = delete;
    ~confirmation();

    [[nodiscard]] std::uint64_t last() const noexcept { return last_; }

    /// Throws std::system_error where some have failed: nobody is told of those again who does not
    /// wait by now.
    void require_none_failed();

  private:
    friend class publish_window;

    publish_window& window_;
    const std::uint64_t last_;
    std::uint64_t failed_ = 0;
    /// Of the first.
    std::error_code why_;
    std::string text_;
};

class publish_window {
  public:
    /// Failures that are kept for take_failures(), if there is memory; more are counted only.
    static constexpr std::size_t failures_max = 1024;

    explicit publish_window(window_limits limits) noexcept : limits_(limits) {}

    /// One that is larger than the window goes alone.
    [[nodiscard]] bool has_room(std::size_t bytes) const noexcept {
        return unsettled_ == 0 ||
               (unsettled_ < limits_.messages && bytes_ + bytes <= limits_.bytes);
    }

    // What throws std::bad_alloc has done nothing then.

    /// Gives it its number, and keeps it to be sent.
    void add(outgoing_ptr it);

    /// What was added last, and not sent, is not the window's any more.
    void take_back() noexcept;

    /// Appends what is to be sent to `out`, oldest first.
    void send(std::string& out);

    /// The broker has confirmed `tag`, or all up to it, or refused them: those are kept, and are to
    /// be sent again when somebody calls retry(). False: it was never sent.
    [[nodiscard]] bool confirm(std::uint64_t tag, bool multiple, bool is_refused) noexcept;

    /// The oldest such one has come back.
    void returned(const returned_message& which, std::error_code why, std::string text);

    /// What was refused is to be sent again.
    void retry() noexcept;

    [[nodiscard]] bool has_refused() const noexcept { return !refused_.empty(); }

    /// What was sent is to be sent again, on another connection, whose tags begin at 1.
    void forget_sent() noexcept;

    /// None of them will be confirmed any more.
    void fail_all(std::error_code why, std::string_view text) noexcept;

    [[nodiscard]] std::size_t unsettled() const noexcept { return unsettled_; }

    /// Of their frames.
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

    [[nodiscard]] std::uint64_t last_number() const noexcept {
        return first_open_ + is_settled_.size() - 1;
    }

    /// All up to this number are.
    [[nodiscard]] std::uint64_t settled() const noexcept { return first_open_ - 1; }

    /// All up to `number` are settled.
    [[nodiscard]] bool are_settled(std::uint64_t number) const noexcept {
        return number < first_open_;
    }

    /// Set for a moment whenever something was settled.
    [[nodiscard]] event& progress() noexcept { return progress_; }

    [[nodiscard]] std::vector<failed_publication> take_failures() noexcept;

  private:
    friend class confirmation;

    /// One that nobody was told of; where there were too many, several, by their numbers.
    struct untold {
        std::uint64_t first = 0;
        std::uint64_t last = 0;
        std::uint64_t count = 0;
        std::error_code why;
        std::string text;
    };

    void settle(const outgoing_ptr& it) noexcept;
    void drop_settled_front() noexcept;
    [[nodiscard]] bool has_room_for_untold() noexcept;
    void note_untold(outgoing& failed) noexcept;
    void tell(confirmation& who);
    static void tell(const untold& what, confirmation& whom);

    const window_limits limits_;
    /// By the broker's tag, from first_tag_ on; null where it is settled or refused.
    std::deque<outgoing_ptr> sent_;
    std::uint64_t first_tag_ = 1;
    // Each has room for all that is not settled: moving one there needs no memory.
    std::vector<outgoing_ptr> unsent_;
    std::vector<outgoing_ptr> refused_;
    std::size_t unsettled_ = 0;
    std::size_t bytes_ = 0;
    /// By number, from first_open_ on.
    std::deque<bool> is_settled_;
    std::uint64_t first_open_ = 1;
    event progress_;
    std::vector<failed_publication> failures_;
    /// In the order in which they failed. Has room for one.
    std::vector<untold> untold_;
    std::vector<confirmation*> confirming_;
};

} // namespace sapwood::amqp::detail
