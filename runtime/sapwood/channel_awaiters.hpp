// What channel<T>'s send, receive, receive_many and join return, and the parts of channel<T> that
// are not on its fast path. Included by channel.hpp.
#pragma once

#include <sapwood/channel.hpp>
#include <sapwood/list_awaiter.hpp>

namespace sapwood {

namespace detail {

/// How a wait on a channel ended.
enum class wait_end : unsigned char {
    /// A send's item was taken; a receive's item is in the channel.
    done,
    /// An item was handed to the waiting receiver.
    handed,
    closed,
    timed_out,
    cancelled,
};

/// The error that stands for an end without success.
[[nodiscard]] inline std::error_code error_of(wait_end end, std::error_code reason) noexcept {
    switch (end) {
    case wait_end::done:
    case wait_end::handed:
        return {};
    case wait_end::closed:
        return reason;
    case wait_end::timed_out:
        return make_error_code(std::errc::timed_out);
    case wait_end::cancelled:
        break;
    }
    return make_error_code(std::errc::operation_canceled);
}

/// Throws what `end` stands for; `what` tells the operation.
[[noreturn, gnu::noinline]] inline void throw_wait_end(wait_end end, std::error_code reason,
                                                       const char* what) {
    if (end == wait_end::cancelled) {
        throw cancelled{};
    }
    throw std::system_error(error_of(end, reason), what);
}

/// A cancelled wait delivers the request when its task runs, not before: asked twice until then,
/// the task is stopped once.
inline void deliver_request(wait_end end, task_context* context) noexcept {
    if (end == wait_end::cancelled) {
        (void)context->take_cancel_request();
    }
}

/// How many slots a ring buffer for `capacity` items needs.
[[nodiscard]] inline std::size_t channel_slots(std::size_t capacity, std::size_t max) noexcept {
    SAPWOOD_ASSERT(capacity > 0 && capacity <= max,
                   "a channel's capacity must be at least 1 and at most channel::capacity_max");
    return std::bit_ceil(capacity);
}

} // namespace detail

// Once a wait has ended, its awaiter does not touch the channel again, or only (receive_many) where
// the channel would have told it of its end: a task may close a channel, or cancel who waits on it,
// and destroy it at once.

template <class T>
class channel<T>::send_awaiter : public detail::channel_sender<T> {
  public:
    send_awaiter(channel& to, T& value) noexcept : channel_(to) { this->item = &value; }

    [[nodiscard]] bool await_ready() noexcept {
        if (channel_.closed_) [[unlikely]] {
            end_ = detail::wait_end::closed;
            reason_ = channel_.closed_;
            return true;
        }
        return channel_.put(*this->item);
    }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        this->context = awaiting.promise().context;
        if (this->context->must_stop()) [[unlikely]] {
            end_ = detail::wait_end::cancelled;
            return false;
        }
        this->wait_in(awaiting, where);
        channel_.senders_.push_back(*this);
        return true;
    }

    void await_resume() {
        if (end_ != detail::wait_end::done) [[unlikely]] {
            detail::deliver_request(end_, this->context);
            detail::throw_wait_end(end_, reason_, "send to a channel");
        }
    }

    /// Without throwing; see as_result.
    result<void> outcome() noexcept {
        detail::deliver_request(end_, this->context);
        return detail::error_of(end_, reason_);
    }

    void cancel() noexcept override {
        channel_.senders_.remove(*this);
        finish(detail::wait_end::cancelled);
    }

    void taken() noexcept override { finish(detail::wait_end::done); }

    void refused(std::error_code reason) noexcept override {
        reason_ = reason;
        finish(detail::wait_end::closed);
    }

    [[nodiscard]] std::string describe() const override { return "send to a channel"; }

  protected:
    /// The wait is over; the sender is out of the channel's list.
    virtual void finish(detail::wait_end how) noexcept {
        end_ = how;
        this->context->loop->make_ready(*this);
    }

    channel& channel_;
    std::error_code reason_;
    detail::wait_end end_ = detail::wait_end::done;
};

/// Keeps the copy that it sends.
template <class T>
class channel<T>::copy_send_awaiter final : public send_awaiter {
  public:
    copy_send_awaiter(channel& to, const T& value) : send_awaiter(to, copy_), copy_(value) {}

  private:
    T copy_;
};

template <class T>
class channel<T>::timed_send_awaiter final : public send_awaiter, private timer {
  public:
    timed_send_awaiter(channel& to, T& value, clock::duration at_most) noexcept
        : send_awaiter(to, value),
          at_most_(at_most) {}

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        event_loop& loop = *awaiting.promise().context->loop;
        loop.arm(*this, saturating_add(loop.now(), at_most_));
        if (!send_awaiter::await_suspend(awaiting, where)) {
            loop.disarm(*this);
            return false;
        }
        return true;
    }

    [[nodiscard]] bool await_resume() {
        if (this->end_ == detail::wait_end::timed_out) {
            return false;
        }
        send_awaiter::await_resume();
        return true;
    }

    result<bool> outcome() noexcept {
        if (this->end_ == detail::wait_end::timed_out) {
            return false;
        }
        const auto sent = send_awaiter::outcome();
        return sent ? result<bool>(true) : result<bool>(sent.error());
    }

  private:
    void finish(detail::wait_end how) noexcept override {
        if (armed()) {
            this->context->loop->disarm(*this);
        }
        send_awaiter::finish(how);
    }

    void fire() noexcept override {
        this->channel_.senders_.remove(*this);
        finish(detail::wait_end::timed_out);
    }

    clock::duration at_most_;
};

template <class T>
class channel<T>::receive_awaiter : public detail::channel_receiver<T> {
  public:
    explicit receive_awaiter(channel& from) noexcept : channel_(from) {}

    ~receive_awaiter() {
        if (end_ == detail::wait_end::handed) [[unlikely]] {
            std::destroy_at(std::addressof(handed_.item));
        }
    }

    [[nodiscard]] bool await_ready() noexcept {
        if (channel_.size_ > 0) [[likely]] {
            return true;
        }
        if (channel_.is_drained()) {
            end_ = detail::wait_end::closed;
            reason_ = channel_.closed_;
            return true;
        }
        return false;
    }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        this->context = awaiting.promise().context;
        if (this->context->must_stop()) [[unlikely]] {
            end_ = detail::wait_end::cancelled;
            return false;
        }
        this->wait_in(awaiting, where);
        channel_.receivers_.push_back(*this);
        return true;
    }

    T await_resume() {
        if (end_ == detail::wait_end::done) [[likely]] {
            return take_front();
        }
        if (end_ == detail::wait_end::handed) {
            return std::move(handed_.item);
        }
        detail::deliver_request(end_, this->context);
        detail::throw_wait_end(end_, reason_, "receive from a channel");
    }

    result<T> outcome() noexcept {
        switch (end_) {
        case detail::wait_end::done:
            return take_front();
        case detail::wait_end::handed:
            return std::move(handed_.item);
        default:
            detail::deliver_request(end_, this->context);
            return detail::error_of(end_, reason_);
        }
    }

    void cancel() noexcept override {
        channel_.receivers_.remove(*this);
        finish(detail::wait_end::cancelled);
    }

    bool deliver(T& item) noexcept override {
        channel_.receivers_.remove(*this);
        std::construct_at(std::addressof(handed_.item), std::move(item));
        finish(detail::wait_end::handed);
        return true;
    }

    void closed(std::error_code reason) noexcept override {
        reason_ = reason;
        finish(detail::wait_end::closed);
    }

    [[nodiscard]] std::string describe() const override { return "receive from a channel"; }

  protected:
    /// The wait is over; the receiver is out of the channel's list.
    virtual void finish(detail::wait_end how) noexcept {
        end_ = how;
        this->context->loop->make_ready(*this);
    }

    [[nodiscard]] T take_front() noexcept {
        T item(std::move(channel_.front()));
        channel_.drop_front();
        return item;
    }

    channel& channel_;
    std::error_code reason_;
    detail::slot<T> handed_;
    detail::wait_end end_ = detail::wait_end::done;
};

template <class T>
class channel<T>::timed_receive_awaiter final : public receive_awaiter, private timer {
  public:
    timed_receive_awaiter(channel& from, clock::duration at_most) noexcept
        : receive_awaiter(from),
          at_most_(at_most) {}

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        event_loop& loop = *awaiting.promise().context->loop;
        loop.arm(*this, saturating_add(loop.now(), at_most_));
        if (!receive_awaiter::await_suspend(awaiting, where)) {
            loop.disarm(*this);
            return false;
        }
        return true;
    }

    [[nodiscard]] std::optional<T> await_resume() {
        if (this->end_ == detail::wait_end::timed_out) {
            return std::nullopt;
        }
        return receive_awaiter::await_resume();
    }

    result<std::optional<T>> outcome() noexcept {
        if (this->end_ == detail::wait_end::timed_out) {
            return std::optional<T>();
        }
        auto received = receive_awaiter::outcome();
        if (!received) {
            return received.error();
        }
        return std::optional<T>(std::move(*received));
    }

  private:
    void finish(detail::wait_end how) noexcept override {
        if (armed()) {
            this->context->loop->disarm(*this);
        }
        receive_awaiter::finish(how);
    }

    void fire() noexcept override {
        this->channel_.receivers_.remove(*this);
        finish(detail::wait_end::timed_out);
    }

    clock::duration at_most_;
};

template <class T>
template <class Out>
class channel<T>::receive_many_awaiter final : public detail::channel_receiver<T>, private timer {
  public:
    receive_many_awaiter(channel& from, Out& out, std::size_t max, clock::duration linger) noexcept
        : channel_(from),
          out_(out),
          max_(max),
          linger_(linger) {
        SAPWOOD_ASSERT(max > 0, "receive_many() was asked for at most no item");
    }

    [[nodiscard]] bool await_ready() {
        take_from_channel();
        if (has_enough() || (count_ > 0 && !lingers())) {
            return true;
        }
        if (channel_.is_drained()) {
            end_ = detail::wait_end::closed;
            reason_ = channel_.closed_;
            return true;
        }
        return false;
    }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        this->context = awaiting.promise().context;
        if (this->context->must_stop()) [[unlikely]] {
            end_ = detail::wait_end::cancelled;
            return false;
        }
        if (count_ > 0) {
            arm_linger();
        }
        this->wait_in(awaiting, where);
        channel_.receivers_.push_back(*this);
        return true;
    }

    std::size_t await_resume() {
        if (error_) [[unlikely]] {
            std::rethrow_exception(error_);
        }
        if (visit_.expected) {
            channel_.end_visit(visit_);
            take_from_channel(); // what came between the wake-up and now
        }
        if (count_ == 0) [[unlikely]] {
            detail::deliver_request(end_, this->context);
            detail::throw_wait_end(end_, reason_, "receive from a channel");
        }
        return count_;
    }

    /// Throws only what out.push_back throws.
    result<std::size_t> outcome() {
        if (count_ == 0 && !error_) {
            detail::deliver_request(end_, this->context);
            return detail::error_of(end_, reason_);
        }
        return await_resume();
    }

    /// The request is delivered now where there is nothing to return, else at the next wait.
    void cancel() noexcept override {
        end_ = detail::wait_end::cancelled;
        leave();
    }

    bool deliver(T& item) noexcept override {
        try {
            if (count_ == 0 && lingers()) {
                arm_linger();
            }
            out_.push_back(std::move(item));
        } catch (...) {
            error_ = std::current_exception();
            leave();
            return false;
        }
        ++count_;
        if (has_enough() || !lingers()) {
            leave();
        }
        return true;
    }

    void closed(std::error_code reason) noexcept override {
        end_ = detail::wait_end::closed;
        reason_ = reason;
        finish();
    }

    [[nodiscard]] std::string describe() const override { return "receive_many from a channel"; }

  private:
    [[nodiscard]] bool lingers() const noexcept { return linger_ > clock::duration::zero(); }

    [[nodiscard]] bool has_enough() const noexcept {
        if constexpr (requires { out_.full(); }) {
            return count_ == max_ || (count_ > 0 && out_.full());
        } else {
            return count_ == max_;
        }
    }

    void take_from_channel() {
        while (!has_enough() && channel_.size_ > 0) {
            out_.push_back(std::move(channel_.front()));
            channel_.drop_front();
            ++count_;
        }
    }

    void arm_linger() {
        event_loop& loop = *this->context->loop;
        loop.arm(*this, saturating_add(loop.now(), linger_));
    }

    void fire() noexcept override { leave(); }

    void leave() noexcept {
        channel_.receivers_.remove(*this);
        if (end_ == detail::wait_end::done && !has_enough() && !error_) {
            channel_.expect_visit(visit_);
        }
        finish();
    }

    void finish() noexcept {
        if (armed()) {
            this->context->loop->disarm(*this);
        }
        this->context->loop->make_ready(*this);
    }

    channel& channel_;
    Out& out_;
    const std::size_t max_;
    const clock::duration linger_;
    std::size_t count_ = 0;
    detail::channel_visit visit_;
    std::exception_ptr error_;
    std::error_code reason_;
    detail::wait_end end_ = detail::wait_end::done;
};

template <class T>
class channel<T>::join_awaiter final : public detail::list_awaiter {
  public:
    explicit join_awaiter(channel& of) noexcept : list_awaiter(of.joiners_), channel_(of) {}

    [[nodiscard]] bool await_ready() const noexcept {
        return channel_.unfinished_ + channel_.pending_behind_doors() == 0;
    }

    [[nodiscard]] std::string describe() const override { return "join of a channel"; }

  private:
    channel& channel_;
};

template <class T>
channel<T>::channel(std::size_t capacity)
    : capacity_(capacity),
      mask_(detail::channel_slots(capacity, capacity_max) - 1),
      slots_(std::make_unique<detail::slot<T>[]>(mask_ + 1)) {}

template <class T>
channel<T>::~channel() {
    while (doors_ != nullptr) {
        door& node = *doors_;
        remove_door(node);
        node.detach(); // which takes it out of the senders
    }
    for (waiter_list* const list : {&senders_, &receivers_, &joiners_}) {
        while (!list->empty()) {
            list->front()->cancel(); // which takes it out of the list
        }
    }
    for (; visits_ != nullptr; visits_ = visits_->next) {
        visits_->expected = false;
    }
    for (; size_ > 0; --size_) {
        std::destroy_at(std::addressof(front()));
        head_ = (head_ + 1) & mask_;
    }
}

template <class T>
void channel<T>::close(std::error_code reason) noexcept {
    if (closed_) {
        return;
    }
    SAPWOOD_ASSERT(reason, "a channel was closed with an error code that means success");
    closed_ = reason;
    refuse_waiting(reason);
    for (auto* node = doors_; node != nullptr;) {
        std::exchange(node, node->next)->shut(reason); // which may take it out of the list
    }
    end_receivers_if_drained();
}

template <class T>
void channel<T>::refuse_waiting(std::error_code reason) noexcept {
    const waiter* const last = senders_.back(); // behind it stand those that came back
    for (const waiter* node = nullptr; node != last;) {
        node = senders_.front();
        static_cast<sender&>(senders_.pop_front()).refused(reason);
    }
}

template <class T>
void channel<T>::end_receivers_if_drained() noexcept {
    if (!is_drained()) {
        return;
    }
    while (!receivers_.empty()) {
        static_cast<receiver&>(receivers_.pop_front()).closed(closed_);
    }
}

template <class T>
std::size_t channel<T>::pending_behind_doors() const noexcept {
    std::size_t items = 0;
    for (auto* node = doors_; node != nullptr; node = node->next) {
        items += node->pending();
    }
    return items;
}

template <class T>
void channel<T>::note_pending() noexcept {
    for (auto* node = doors_; node != nullptr; node = node->next) {
        node->items_noted = node->items_in + node->pending();
    }
}

template <class T>
bool channel<T>::noted_are_in() const noexcept {
    for (const auto* node = doors_; node != nullptr; node = node->next) {
        if (node->items_in < node->items_noted) {
            return false;
        }
    }
    return true;
}

template <class T>
void channel<T>::wake_joiners() noexcept {
    if (pending_behind_doors() == 0) {
        detail::wake_all(joiners_);
    }
}

template <class T>
void channel<T>::add_door(door& node) noexcept {
    node.next = doors_;
    if (doors_ != nullptr) {
        doors_->previous = &node;
    }
    doors_ = &node;
}

template <class T>
void channel<T>::remove_door(door& node) noexcept {
    (node.previous != nullptr ? node.previous->next : doors_) = node.next;
    if (node.next != nullptr) {
        node.next->previous = node.previous;
    }
    node.next = node.previous = nullptr;
}

template <class T>
void channel<T>::expect_visit(detail::channel_visit& node) noexcept {
    node.expected = true;
    node.next = visits_;
    if (visits_ != nullptr) {
        visits_->previous = &node;
    }
    visits_ = &node;
}

template <class T>
void channel<T>::end_visit(detail::channel_visit& node) noexcept {
    (node.previous != nullptr ? node.previous->next : visits_) = node.next;
    if (node.next != nullptr) {
        node.next->previous = node.previous;
    }
    node.expected = false;
}

} // namespace sapwood
