// owned_fd: a file descriptor and the operations in flight on it. Files, sockets and pipes are
// one, so that all of them count their operations and close in the same way. Loop thread only.
#pragma once

#include <sapwood/event_loop.hpp>
#include <sapwood/op.hpp>

#include <algorithm>
#include <cstddef>
#include <string>

namespace sapwood {

namespace detail {

/// An operation on an owned descriptor. Counts, so that close can wait for it.
template <class Derived, class T>
class fd_op;

class close_op;
class standing_operation;
class standing_wait;

/// What one operation may move: a completion carries at most INT_MAX bytes, and the kernel cuts at
/// 0x7ffff000 itself.
[[nodiscard]] inline unsigned transfer_size(std::size_t bytes) noexcept {
    constexpr std::size_t transfer_bytes_max = 0x7ffff000;
    return static_cast<unsigned>(std::min(bytes, transfer_bytes_max));
}

} // namespace detail

/// Owns a file descriptor. May be moved while no operation is in flight on it.
class owned_fd {
  public:
    owned_fd() = default;

    /// Takes over an open descriptor.
    explicit owned_fd(int fd) noexcept : fd_(fd) {}

    owned_fd(owned_fd&& other) noexcept;
    owned_fd& operator=(owned_fd&& other) noexcept;

    /// Closes at once, as close(2). No operation may be in flight.
    ~owned_fd();

    /// Waits until the descriptor's other operations are over, then closes. It is empty afterwards
    /// even where the kernel reports an error of an earlier write.
    [[nodiscard]] detail::close_op close() noexcept;

    [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

    /// -1 where none is open.
    [[nodiscard]] int fd() const noexcept { return fd_; }

    /// Gives up the descriptor without closing it. Not of a stream that receive() was called on,
    /// nor of a listener that has accepted: the loop would go on.
    [[nodiscard]] int release() noexcept;

  protected:
    /// While it lives, the descriptor counts as in use, although no operation is in flight: it may
    /// not be moved or destroyed, and close waits.
    class use {
      public:
        explicit use(owned_fd& of) noexcept : of_(of) { ++of_.in_flight_; }

        use(const use&) = delete;
        use& operator=(const use&) = delete;

        ~use() { of_.operation_ended(); }

      private:
        owned_fd& of_;
    };

    /// Open, and not about to be closed.
    [[nodiscard]] bool is_usable() const noexcept { return is_open() && closing_ == nullptr; }

    [[nodiscard]] bool has_standing_operation() const noexcept { return standing_ != nullptr; }

  private:
    template <class Derived, class T>
    friend class detail::fd_op;
    friend class detail::close_op;
    friend class detail::standing_wait;

    void operation_ended() noexcept {
        if (--in_flight_ == 0 && closing_ != nullptr) [[unlikely]] {
            begin_closing();
        }
    }

    void begin_closing() noexcept;

    int fd_ = -1;
    /// Awaited operations. The standing one is none of them.
    unsigned in_flight_ = 0;
    /// Null until the descriptor is first accepted on or received from by it.
    detail::standing_operation* standing_ = nullptr;
    /// Waits for in_flight_ to become 0.
    detail::close_op* closing_ = nullptr;
};

namespace detail {

template <class Derived, class T>
class fd_op : public op<Derived, T> {
  public:
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        SAPWOOD_ASSERT(on_.is_open() && on_.closing_ == nullptr,
                       "an operation was started on a file or socket that is not open");
        ++on_.in_flight_;
        if (!op<Derived, T>::await_suspend(awaiting, where)) {
            --on_.in_flight_;
            return false;
        }
        return true;
    }

    void complete(std::int32_t value, std::uint32_t flags) noexcept override {
        op<Derived, T>::complete(value, flags);
        if (!this->is_started()) {
            on_.operation_ended();
        }
    }

  protected:
    explicit fd_op(owned_fd& on) noexcept : on_(on) {}

    [[nodiscard]] int fd() const noexcept { return on_.fd_; }

    /// What `complete` comes to where the operation did all that it should.
    void succeed(std::int32_t value) noexcept {
        this->value_ = value;
        this->context->loop->make_ready(*this);
        on_.operation_ended();
    }

  private:
    owned_fd& on_;
};

class [[nodiscard]] close_op final : public op<close_op, void> {
  public:
    explicit close_op(owned_fd& of) noexcept : of_(of) {}

    /// Closing cannot be refused: a pending cancellation is delivered at the next wait.
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        SAPWOOD_ASSERT(of_.is_open() && of_.closing_ == nullptr,
                       "close() of a file or socket that is not open, or is being closed");
        wait_in(awaiting, where);
        end_others();
    }

    void prepare(io_uring_sqe& sqe) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    /// The request stays pending.
    void cancel() noexcept override {}

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

    /// No other operation uses the descriptor any more.
    void begin() noexcept;

    /// The standing one does not.
    void standing_ended() noexcept { of_.operation_ended(); }

  private:
    void end_others() noexcept;

    owned_fd& of_;
    int fd_ = -1;
};

} // namespace detail

} // namespace sapwood
