// How far a log has got, and who waits for it to get further: a board per level (written, durable).
// Whoever waits is a node in his own frame; the list is in the order of lsn, so that one pass from
// its front wakes everybody up to where the log is now, and waiting costs no memory. Loop thread
// only.
#pragma once

#include <sapwood/errors.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/lsn.hpp>
#include <sapwood/result.hpp>

#include <cstddef>
#include <system_error>
#include <vector>

namespace sapwood {

namespace detail {

/// A node of a board.
class receipt_waiter : public waiter {
  public:
    explicit receipt_waiter(lsn awaited) noexcept : awaited_(awaited) {}

    [[nodiscard]] lsn awaited() const noexcept { return awaited_; }

    /// The wait is over, and the node out of the list: the log has got there, or, with an error,
    /// will not.
    virtual void settled(std::error_code how) noexcept = 0;

  protected:
    ~receipt_waiter() = default;

    lsn awaited_;
};

/// The records from `first` to `last`.
struct lsn_range {
    lsn first = lsn::none;
    lsn last = lsn::none;
};

class receipt_board {
  public:
    explicit receipt_board(lsn reached = lsn::none) : reached_(reached) { lost_.reserve(lost_max); }

    receipt_board(const receipt_board&) = delete;
    receipt_board& operator=(const receipt_board&) = delete;

    /// Those who still wait are cancelled.
    ~receipt_board();

    [[nodiscard]] lsn reached() const noexcept { return reached_; }

    /// Whether a wait for `place` would be over at once.
    [[nodiscard]] bool is_settled(lsn place) const noexcept {
        return place <= reached_ || static_cast<bool>(end_) || is_lost(place);
    }

    /// How a wait for `place` ends, which is settled.
    [[nodiscard]] std::error_code outcome(lsn place) const noexcept {
        if (is_lost(place)) [[unlikely]] {
            return errc::lost;
        }
        return place <= reached_ ? std::error_code() : end_;
    }

    /// The log has got to `place`: wakes everybody up to there.
    void reach(lsn place) noexcept;

    /// What is not reached yet never will be, and neither are these.
    void end(std::error_code reason) noexcept;

    /// These never will be, although the log gets further. Ranges come in order, and lie behind
    /// what is reached.
    void lose(lsn_range range) noexcept;

    /// Whether some of these are lost.
    [[nodiscard]] bool has_lost(lsn_range range) const noexcept;

    void add(receipt_waiter& node) noexcept;

    void remove(receipt_waiter& node) noexcept { waiting_.remove(node); }

    [[nodiscard]] bool has_waiters() const noexcept { return !waiting_.empty(); }

  private:
    /// More are not kept apart where the oldest two are in the past: they become one, with what is
    /// between them.
    static constexpr std::size_t lost_max = 64;

    [[nodiscard]] bool is_lost(lsn place) const noexcept {
        return !lost_.empty() && is_in_lost(place);
    }

    [[nodiscard]] bool is_in_lost(lsn place) const noexcept;
    void keep_lost(lsn_range range) noexcept;

    lsn reached_;
    std::error_code end_;
    std::vector<lsn_range> lost_;
    waiter_list waiting_;
};

} // namespace detail

/// What written() and durable() return.
class [[nodiscard]] receipt final : public detail::receipt_waiter {
  public:
    receipt(detail::receipt_board& board, lsn awaited, const char* what) noexcept
        : receipt_waiter(awaited),
          board_(board),
          what_(what) {}

    [[nodiscard]] bool await_ready() noexcept {
        if (!board_.is_settled(awaited_)) [[likely]] {
            return false;
        }
        how_ = board_.outcome(awaited_);
        return true;
    }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            is_cancelled_ = true;
            return false;
        }
        wait_in(awaiting, where);
        board_.add(*this);
        return true;
    }

    /// Throws std::system_error, or `cancelled`.
    void await_resume() const {
        if (is_cancelled_) [[unlikely]] {
            (void)context->take_cancel_request();
            throw cancelled{};
        }
        if (how_) [[unlikely]] {
            throw std::system_error(how_, what_);
        }
    }

    /// Without throwing; see as_result.
    result<void> outcome() const noexcept {
        if (is_cancelled_) {
            (void)context->take_cancel_request();
            return make_error_code(std::errc::operation_canceled);
        }
        if (how_) {
            return how_;
        }
        return {};
    }

    void settled(std::error_code how) noexcept override {
        how_ = how;
        context->loop->make_ready(*this);
    }

    void cancel() noexcept override {
        board_.remove(*this);
        is_cancelled_ = true;
        context->loop->make_ready(*this);
    }

    [[nodiscard]] std::string describe() const override { return what_; }

  private:
    detail::receipt_board& board_;
    const char* what_;
    std::error_code how_;
    bool is_cancelled_ = false;
};

} // namespace sapwood
