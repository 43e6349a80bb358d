#include <sapwood/log_door.hpp>

#include "pipeline_consumer.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/spawn.hpp>

#include <mutex>
#include <utility>

namespace sapwood {

/// Finishes a request, at the latest when it is destroyed: a task that is told to stop before it
/// has begun never begins.
class log_door::finisher {
  public:
    explicit finisher(detail::door_request& request) noexcept : request_(&request) {}

    finisher(finisher&& other) noexcept : request_(std::exchange(other.request_, nullptr)) {}

    finisher& operator=(finisher&&) = delete;

    ~finisher() { finish(errc::closed); }

    [[nodiscard]] detail::door_request& request() const noexcept { return *request_; }

    void finish(std::error_code how) noexcept {
        if (auto* const request = std::exchange(request_, nullptr)) {
            request->finish(how == std::errc::operation_canceled ? make_error_code(errc::closed)
                                                                 : how);
        }
    }

  private:
    detail::door_request* request_;
};

task<> log_door::serve(finisher request, std::shared_ptr<void> log) {
    auto& to = *static_cast<pipeline::consumer*>(log.get());
    detail::door_request& asked = request.request();
    if (asked.item_ != nullptr) {
        const auto appended = co_await as_result(pipeline::append_awaiter(to, *asked.item_));
        if (!appended) {
            request.finish(appended.error());
            co_return;
        }
        asked.place_ = *appended;
    }
    if (asked.level_ == detail::receipt_level::accepted) {
        request.finish({});
        co_return;
    }
    auto& board = asked.level_ == detail::receipt_level::durable ? to.durable : to.written;
    const auto reached =
        co_await as_result(receipt(board, asked.place_, "wait for another thread's record"));
    request.finish(reached ? std::error_code() : reached.error());
}

namespace detail {

/// What the copies of a log_door share. Kept by them, by requests, and, until its loop ends, by
/// itself: the loop tells it.
class door_state final : public loop_observer {
  public:
    std::mutex mutex;

    door_state(event_loop& loop, std::weak_ptr<void> log) : log_(std::move(log)), loop_(&loop) {}

    void open(std::shared_ptr<door_state> self) {
        kept_by_loop_ = std::move(self);
        loop_->observe(*this);
    }

    /// False where nobody would take it.
    bool post(arrival& message) noexcept {
        const std::lock_guard lock(mutex);
        if (loop_ == nullptr) {
            return false;
        }
        loop_->post(message);
        return true;
    }

    /// The consumer; null where it is gone. Loop thread only.
    [[nodiscard]] std::shared_ptr<void> log() const noexcept {
        return loop_ != nullptr ? log_.lock() : nullptr;
    }

  private:
    void loop_ended() noexcept override {
        const auto self = std::move(kept_by_loop_); // may be the last to keep *this
        const std::lock_guard lock(mutex);
        loop_ = nullptr;
    }

    const std::weak_ptr<void> log_;
    std::shared_ptr<door_state> kept_by_loop_;
    /// Any thread, with the mutex held.
    event_loop* loop_;
};

void door_request::send() noexcept {
    if (!door_->post(*this)) {
        finish(errc::closed);
    }
}

void door_request::arrive() noexcept {
    auto log = door_->log();
    if (log == nullptr) {
        finish(errc::closed);
        return;
    }
    log_door::finisher request(*this);
    try {
        spawn(log_door::serve(std::move(request), std::move(log))).detach();
    } catch (const std::bad_alloc&) {
        // Whoever has the request now finishes it.
    }
}

void door_request::finish(std::error_code how) noexcept {
    how_ = how;
    finished();
}

} // namespace detail

// --- what waits for it ---

lsn door_receipt::wait() {
    SAPWOOD_ASSERT(detail::running_loop == nullptr,
                   "a blocking wait for a log on a thread that runs a loop would block the loop: "
                   "co_await it there");
    request_.block();
    return taken();
}

lsn door_receipt::taken() const {
    const auto outcome = request_.outcome();
    if (!outcome) {
        throw std::system_error(outcome.error(), "wait for a record of a log from another thread");
    }
    return *outcome;
}

void door_receipt::request::block() noexcept {
    send();
    std::unique_lock lock(door_->mutex);
    over_.wait(lock, [this] { return is_over_; });
}

void door_receipt::request::finished() noexcept {
    const auto door = door_; // outlives the request
    // Who waits goes on only with the lock: until then it, and its loop, are there.
    const std::lock_guard lock(door->mutex);
    if (of_.context != nullptr) {
        of_.context->loop->post(of_.homecoming_);
    } else {
        is_over_ = true;
        over_.notify_one();
    }
}

void door_receipt::homecoming::arrive() noexcept {
    { const std::lock_guard lock(of_.request_.door_->mutex); }
    of_.context->loop->make_ready(of_);
}

// --- the door ---

door_receipt log_door::append(record&& item) const noexcept {
    return {state_, &item, lsn::none, detail::receipt_level::accepted};
}

door_receipt log_door::append_written(record&& item) const noexcept {
    return {state_, &item, lsn::none, detail::receipt_level::written};
}

door_receipt log_door::append_durable(record&& item) const noexcept {
    return {state_, &item, lsn::none, detail::receipt_level::durable};
}

door_receipt log_door::written(lsn place) const noexcept {
    return {state_, nullptr, place, detail::receipt_level::written};
}

door_receipt log_door::durable(lsn place) const noexcept {
    return {state_, nullptr, place, detail::receipt_level::durable};
}

log_door pipeline::door() {
    auto state = std::make_shared<detail::door_state>(event_loop::current(), consumer_);
    state->open(state);
    return log_door(std::move(state));
}

} // namespace sapwood
