// channel<T>: a bounded FIFO between the tasks of one loop, asyncio's Queue with a close. Senders
// wait while it is full, receivers while it is empty, both in the order they came. No atomics, and
// no allocation after construction but for the timers of timed waits. Loop thread only;
// remote_sender<T> is its door for other threads.
#pragma once

#include <sapwood/event_loop.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace sapwood {

template <class T>
class channel;

namespace detail {

/// Who waits to put an item into a full channel. `item` is moved from when its turn comes.
template <class T>
class channel_sender : public waiter {
  public:
    T* item = nullptr;

    /// The item was taken. The sender is out of the channel's list.
    virtual void taken() noexcept = 0;
    /// The channel was closed, or takes nothing now, and has not taken the item. The sender is out
    /// of its list, and may go back into it.
    virtual void refused(std::error_code reason) noexcept = 0;

  protected:
    ~channel_sender() = default;
};

/// Who waits for items of an empty channel.
template <class T>
class channel_receiver : public waiter {
  public:
    /// Takes `item`, moving from it. False: it could not (and has ended its wait).
    virtual bool deliver(T& item) noexcept = 0;
    /// The channel was closed and is empty. The receiver is out of its list.
    virtual void closed(std::error_code reason) noexcept = 0;

  protected:
    ~channel_receiver() = default;
};

template <class T>
class remote_door;

/// A receiver that has been woken and looks into the channel once more when it runs.
struct channel_visit {
    /// False once the channel is gone.
    bool expected = false;
    channel_visit* next = nullptr;
    channel_visit* previous = nullptr;
};

/// Space for a T that is there or not, as the owner knows.
template <class T>
union slot {
    slot() noexcept {}

    ~slot() {}

    slot(const slot&) = delete;
    slot& operator=(const slot&) = delete;

    T item;
};

/// Items of other threads on their way into a channel; see remote_sender.
template <class T>
class channel_door {
  public:
    /// Items that are accepted and not yet in the channel.
    [[nodiscard]] virtual std::size_t pending() noexcept = 0;

    /// Items that have come into the channel.
    std::uint64_t items_in = 0;
    /// What items_in is when all have come in that were pending when somebody looked; see
    /// channel::note_pending.
    std::uint64_t items_noted = 0;

    /// The channel is closed: what is pending still comes in, nothing else does.
    virtual void shut(std::error_code reason) noexcept = 0;
    /// The channel is gone; the door is out of its list.
    virtual void detach() noexcept = 0;

    channel_door* next = nullptr;
    channel_door* previous = nullptr;

  protected:
    ~channel_door() = default;
};

} // namespace detail

template <class T>
class channel {
    static_assert(
        std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
        "a channel's items need a move constructor and a destructor that are noexcept: an "
        "item on its way from task to task must not be lost to an exception");

  public:
    using value_type = T;

    class send_awaiter;
    class copy_send_awaiter;
    class timed_send_awaiter;
    class receive_awaiter;
    class timed_receive_awaiter;
    template <class Out>
    class receive_many_awaiter;
    class join_awaiter;

    static constexpr std::size_t capacity_max = std::size_t{1} << 30;

    /// `capacity` items fit, 1 to capacity_max; there is no unbounded channel.
    explicit channel(std::size_t capacity);

    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;

    /// Tasks that still wait on the channel are cancelled, and must not use it again. Items in it
    /// are destroyed.
    ~channel();

    /// Puts `value` in, waiting while the channel is full. `value` is moved from only when it is
    /// accepted: after an exception the caller still has it. Throws std::system_error with
    /// errc::closed (or the reason given to close), or `cancelled`. Borrows `value` to the end of
    /// the co_await expression.
    [[nodiscard]] send_awaiter send(T&& value) noexcept { return send_awaiter(*this, value); }

    [[nodiscard]] copy_send_awaiter send(const T& value) { return copy_send_awaiter(*this, value); }

    /// Like send, for `at_most` at the longest: false, and `value` untouched, if no room came.
    [[nodiscard]] timed_send_awaiter send_for(T&& value, time_span at_most) noexcept {
        return timed_send_awaiter(*this, value, at_most);
    }

    /// False, and `value` untouched, where send would have to wait. Throws where it is closed.
    [[nodiscard]] bool try_send(T&& value) {
        require_open();
        return put(value);
    }

    [[nodiscard]] bool try_send(const T& value) {
        require_open();
        if (!has_room()) {
            return false;
        }
        T copy(value);
        return put(copy);
    }

    /// Takes the oldest item out, waiting while there is none. Throws std::system_error with
    /// errc::closed (or the reason) when the channel is closed and empty, or `cancelled`; an item
    /// that had been handed over is returned even if the task was cancelled meanwhile.
    [[nodiscard]] receive_awaiter receive() noexcept { return receive_awaiter(*this); }

    /// Like receive, for `at_most` at the longest: empty if nothing came.
    [[nodiscard]] timed_receive_awaiter receive_for(time_span at_most) noexcept {
        return timed_receive_awaiter(*this, at_most);
    }

    /// Empty where receive would have to wait or would throw errc::closed.
    [[nodiscard]] std::optional<T> try_receive() noexcept {
        std::optional<T> item;
        if (size_ > 0) {
            item.emplace(std::move(front()));
            drop_front();
        }
        return item;
    }

    /// Appends items to `out` with out.push_back(T&&): waits for the first like receive, then goes
    /// on until there are `max` of them, or `out` says that it is full (where it has a full()), or
    /// the channel is empty and `linger` after the first item
    /// has passed, or the channel is closed. Returns how many, at least one. Items that are in
    /// `out` stay there whatever happens: a cancelled call that has some returns them.
    template <class Out>
    [[nodiscard]] receive_many_awaiter<Out> receive_many(Out& out, std::size_t max,
                                                         time_span linger = {}) noexcept {
        return receive_many_awaiter<Out>(*this, out, max, linger);
    }

    /// No more sends: those that wait and those to come throw `reason`; receivers get what is in
    /// the channel and in its remote_senders, then `reason`. Closing twice keeps the first reason.
    void close(std::error_code reason = errc::closed) noexcept;

    /// Those that wait to send throw `reason`, and have their items still; the channel goes on.
    /// What a remote_sender has accepted waits on.
    void refuse_waiting(std::error_code reason) noexcept;

    [[nodiscard]] bool is_closed() const noexcept { return static_cast<bool>(closed_); }

    /// For receivers: an item received earlier has been dealt with. A programming error where no
    /// item is outstanding.
    void task_done(std::size_t items = 1) noexcept {
        SAPWOOD_ASSERT(items <= unfinished_, "task_done() was called more often than items were "
                                             "received");
        unfinished_ -= items;
        if (unfinished_ == 0 && !joiners_.empty()) [[unlikely]] {
            wake_joiners();
        }
    }

    /// Waits until task_done has been called for every item ever sent, those that wait in a
    /// remote_sender included. Throws `cancelled`.
    [[nodiscard]] join_awaiter join() noexcept { return join_awaiter(*this); }

    /// Notes which items remote_senders have accepted by now.
    void note_pending() noexcept;

    /// Whether the items noted last are all in the channel, or were.
    [[nodiscard]] bool noted_are_in() const noexcept;

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

    /// Items sent for which task_done has not been called.
    [[nodiscard]] std::size_t unfinished() const noexcept { return unfinished_; }

  private:
    friend class detail::remote_door<T>;
    using sender = detail::channel_sender<T>;
    using receiver = detail::channel_receiver<T>;
    using door = detail::channel_door<T>;

    /// Whether a send would not wait. While others wait, a newcomer stands behind them; where
    /// receivers wait, the channel is empty and no sender waits.
    [[nodiscard]] bool has_room() const noexcept { return size_ < capacity_ && senders_.empty(); }

    void require_open() const {
        if (closed_) [[unlikely]] {
            throw std::system_error(closed_, "send to a channel");
        }
    }

    /// Puts `value` in where that needs no wait.
    [[nodiscard]] bool put(T& value) noexcept {
        if (!receivers_.empty() && hand_over(value)) [[unlikely]] {
            return true;
        }
        if (!has_room()) [[unlikely]] {
            return false;
        }
        push(value);
        return true;
    }

    void push(T& value) noexcept {
        std::construct_at(std::addressof(slots_[(head_ + size_) & mask_].item), std::move(value));
        ++size_;
        ++unfinished_;
    }

    [[nodiscard]] T& front() noexcept { return slots_[head_].item; }

    /// Removes the front item, which has been moved from, and lets the first waiting sender in.
    void drop_front() noexcept {
        std::destroy_at(std::addressof(front()));
        head_ = (head_ + 1) & mask_;
        --size_;
        if (!senders_.empty()) [[unlikely]] {
            admit_sender();
        }
    }

    [[gnu::noinline]] bool hand_over(T& value) noexcept {
        while (!receivers_.empty()) {
            if (static_cast<receiver*>(receivers_.front())->deliver(value)) {
                ++unfinished_;
                return true;
            }
        }
        return false;
    }

    void admit_sender() noexcept {
        auto& first = static_cast<sender&>(senders_.pop_front());
        if (const auto* const second = static_cast<const sender*>(senders_.front())) {
            // With thousands of senders the next one's item is not in the cache.
            __builtin_prefetch(second->item);
            __builtin_prefetch(second->next);
        }
        push(*first.item);
        first.taken();
    }

    /// Items that remote_senders have accepted and not yet put in.
    [[nodiscard]] std::size_t pending_behind_doors() const noexcept;

    /// Closed, and no item can come any more.
    [[nodiscard]] bool is_drained() const noexcept {
        return closed_ && size_ == 0 && pending_behind_doors() == 0;
    }

    void end_receivers_if_drained() noexcept;
    void wake_joiners() noexcept;
    void add_door(door& node) noexcept;
    void remove_door(door& node) noexcept;
    void expect_visit(detail::channel_visit& node) noexcept;
    void end_visit(detail::channel_visit& node) noexcept;

    const std::size_t capacity_;
    const std::size_t mask_;
    const std::unique_ptr<detail::slot<T>[]> slots_;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
    std::size_t unfinished_ = 0;
    waiter_list senders_;
    waiter_list receivers_;
    waiter_list joiners_;
    door* doors_ = nullptr;
    detail::channel_visit* visits_ = nullptr;
    std::error_code closed_;
};

} // namespace sapwood

#include <sapwood/channel_awaiters.hpp>
