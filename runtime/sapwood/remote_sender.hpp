// remote_sender<T>: a channel's door for other threads. Threads put items into a bounded buffer
// under a mutex; the loop swaps the whole buffer out, one wake-up per burst, and feeds it to the
// channel as one sender among the others, so the channel's capacity holds back the threads too.
// Made on the loop's thread; copies may be used and destroyed on any thread, also after the
// channel and the loop are gone, when sends are refused.
#pragma once

#include <sapwood/channel.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

namespace sapwood {

namespace detail {

/// What the copies of a remote_sender share. Kept alive by them, by the channel, and, while it is
/// on its way to the loop, by itself.
template <class T>
class remote_door final : public channel_door<T>,
                          private channel_sender<T>,
                          private arrival,
                          private loop_observer,
                          public std::enable_shared_from_this<remote_door<T>> {
  public:
    static constexpr clock::time_point no_wait = clock::time_point::min();
    static constexpr clock::time_point no_deadline = clock::time_point::max();

    remote_door(channel<T>& to, event_loop& loop, std::size_t capacity)
        : capacity_(capacity),
          channel_(&to),
          home_(&loop),
          loop_(&loop) {
        SAPWOOD_ASSERT(capacity > 0 && capacity <= channel<T>::capacity_max,
                       "a remote_sender's capacity must be at least 1 and at most "
                       "channel::capacity_max");
        incoming_.reserve(capacity);
        batch_.reserve(capacity);
    }

    /// Puts `value` in, waiting for room until `deadline`. False, and `value` untouched, if none
    /// came. Throws std::system_error where the channel is closed.
    bool put(T& value, clock::time_point deadline) {
        std::unique_lock lock(mutex_);
        SAPWOOD_ASSERT(closed_ || deadline == no_wait || std::this_thread::get_id() != loop_thread_,
                       "a blocking send on the loop's own thread would block the loop that has to "
                       "make room: co_await channel.send() there");
        const auto settled = [this] { return closed_ || incoming_.size() < capacity_; };
        if (!settled() && deadline != no_wait) {
            ++threads_waiting_;
            if (deadline == no_deadline) {
                room_.wait(lock, settled);
            } else {
                room_.wait_until(lock, deadline, settled);
            }
            --threads_waiting_;
        }
        if (closed_) {
            throw std::system_error(closed_, "send to a channel from another thread");
        }
        if (incoming_.size() == capacity_) {
            return false;
        }
        incoming_.push_back(std::move(value));
        post_to_loop();
        return true;
    }

    /// The last copy is gone: the loop lets go once everything has come in.
    void orphan() noexcept {
        const std::lock_guard lock(mutex_);
        orphaned_ = true;
        post_to_loop();
    }

    /// On the loop's thread, once: the channel knows the door from now on.
    void open() {
        kept_by_channel_ = this->shared_from_this();
        channel_->add_door(*this);
        home_->observe(*this);
    }

  private:
    // --- loop thread ---

    std::size_t pending() noexcept override {
        const std::lock_guard lock(mutex_);
        return incoming_.size() + (batch_.size() - next_in_batch_);
    }

    void shut(std::error_code reason) noexcept override {
        {
            const std::lock_guard lock(mutex_);
            closed_ = reason;
        }
        room_.notify_all();
        if (!is_waiting_) {
            pump(); // what was accepted still goes in
        }
    }

    void detach() noexcept override {
        refuse_from_now_on();
        if (home_ != nullptr) {
            home_->forget(*this);
        }
        if (std::exchange(is_waiting_, false)) {
            channel_->senders_.remove(*this);
        }
        channel_ = nullptr;
        const auto self = std::move(kept_by_channel_); // may be the last to keep *this
    }

    /// A channel may outlive its loop, and threads send to it all the same.
    void loop_ended() noexcept override {
        home_ = nullptr;
        refuse_from_now_on();
    }

    void refuse_from_now_on() noexcept {
        {
            const std::lock_guard lock(mutex_);
            if (!closed_) {
                closed_ = errc::closed;
            }
            loop_ = nullptr;
        }
        room_.notify_all();
    }

    void arrive() noexcept override {
        const auto self = std::exchange(kept_on_its_way_, nullptr);
        {
            const std::lock_guard lock(mutex_);
            posted_ = false;
        }
        if (channel_ != nullptr && !is_waiting_) {
            pump();
        }
    }

    /// Puts items into the channel until it is full or none is left.
    void pump() noexcept {
        while (next_in_batch_ < batch_.size() || next_batch()) {
            if (!channel_->put(batch_[next_in_batch_])) {
                this->item = &batch_[next_in_batch_];
                is_waiting_ = true;
                channel_->senders_.push_back(*this);
                return;
            }
            ++next_in_batch_;
            ++this->items_in;
        }
        channel_->end_receivers_if_drained();
        if (is_orphan()) {
            channel_->remove_door(*this);
            detach();
        }
    }

    bool next_batch() noexcept {
        batch_.clear();
        next_in_batch_ = 0;
        bool somebody_waits = false;
        {
            const std::lock_guard lock(mutex_);
            batch_.swap(incoming_);
            somebody_waits = threads_waiting_ > 0;
        }
        if (somebody_waits) {
            room_.notify_all();
        }
        return !batch_.empty();
    }

    [[nodiscard]] bool is_orphan() noexcept {
        const std::lock_guard lock(mutex_);
        return orphaned_ && incoming_.empty();
    }

    void taken() noexcept override {
        is_waiting_ = false;
        ++next_in_batch_;
        ++this->items_in;
        pump();
    }

    /// Its items are accepted already: it waits on, behind those that are refused. Nobody else
    /// would wake it.
    void refused(std::error_code) noexcept override { channel_->senders_.push_back(*this); }

    void cancel() noexcept override {} // it belongs to no task

    // --- any thread, with mutex_ held ---

    void post_to_loop() noexcept {
        if (!posted_ && loop_ != nullptr) {
            posted_ = true;
            kept_on_its_way_ = this->shared_from_this();
            loop_->post(*this);
        }
    }

    // Constant after construction.
    const std::size_t capacity_;
    const std::thread::id loop_thread_ = std::this_thread::get_id();

    // Loop thread only.
    channel<T>* channel_;
    /// Null once the loop is gone.
    event_loop* home_;
    std::vector<T> batch_;
    std::size_t next_in_batch_ = 0;
    /// In the channel's list of senders, with batch_[next_in_batch_].
    bool is_waiting_ = false;
    std::shared_ptr<remote_door> kept_by_channel_;

    // Any thread, with mutex_ held.
    std::mutex mutex_;
    std::condition_variable room_;
    std::vector<T> incoming_;
    std::size_t threads_waiting_ = 0;
    std::error_code closed_;
    event_loop* loop_;
    bool posted_ = false;
    bool orphaned_ = false;
    /// Written before the post and read by the arrival.
    std::shared_ptr<remote_door> kept_on_its_way_;
};

} // namespace detail

/// Copyable; the copies share one buffer.
template <class T>
class remote_sender {
  public:
    /// A door of `capacity` items into `to`, for the loop that runs on this thread. The items in
    /// it come on top of the channel's own capacity.
    remote_sender(channel<T>& to, std::size_t capacity)
        : hold_(std::make_shared<hold>(to, event_loop::current(), capacity)) {}

    /// With as much room as the channel has.
    explicit remote_sender(channel<T>& to) : remote_sender(to, to.capacity()) {}

    /// Puts `value` in, blocking the calling thread while there is no room. `value` is moved from
    /// only when it is accepted. Throws std::system_error with the channel's reason once it is
    /// closed. A programming error on the loop's own thread before that: co_await channel.send()
    /// there.
    void send(T&& value) { (void)door().put(value, detail::remote_door<T>::no_deadline); }

    void send(const T& value) { send(T(value)); }

    /// Like send, for `at_most` at the longest: false, and `value` untouched, if no room came.
    [[nodiscard]] bool send_for(T&& value, time_span at_most) {
        return door().put(value, saturating_add(clock::now(), at_most));
    }

    /// False, and `value` untouched, where send would have to block. Also on the loop's thread.
    [[nodiscard]] bool try_send(T&& value) {
        return door().put(value, detail::remote_door<T>::no_wait);
    }

  private:
    /// Tells the door when the last copy is gone.
    struct hold {
        hold(channel<T>& to, event_loop& loop, std::size_t capacity)
            : door(std::make_shared<detail::remote_door<T>>(to, loop, capacity)) {
            door->open();
        }

        hold(const hold&) = delete;
        hold& operator=(const hold&) = delete;

        ~hold() { door->orphan(); }

        std::shared_ptr<detail::remote_door<T>> door;
    };

    [[nodiscard]] detail::remote_door<T>& door() const noexcept {
        SAPWOOD_ASSERT(hold_ != nullptr, "a remote_sender was used after it was moved from");
        return *hold_->door;
    }

    std::shared_ptr<hold> hold_;
};

} // namespace sapwood
