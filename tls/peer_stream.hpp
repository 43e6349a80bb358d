// peer_stream: the bytes of a connection, for the session that speaks by them: as they travel, or
// under TLS. What sapwood/stream.hpp promises holds for both: one task may receive while another
// writes, a piece is the session's until it is destroyed, a receive that was cancelled has taken
// nothing, and a write that was may have left a part written. Without TLS it costs no frame of a
// coroutine, and so no memory while it waits. Loop thread only.
#pragma once

#include "tls_stream.hpp"

#include <sapwood/stream.hpp>
#include <sapwood/task.hpp>
#include <sapwood/timeout.hpp>

#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace sapwood {

/// An operation of a socket, or the task that stands for it where it is under TLS.
template <class Operation, class T>
class [[nodiscard]] peer_wait {
  public:
    template <class... Arguments>
    explicit peer_wait(std::in_place_t, Arguments&&... arguments) {
        operation_.emplace(std::forward<Arguments>(arguments)...);
    }

    explicit peer_wait(task<T> instead) { task_.emplace(std::move(instead)); }

    peer_wait(const peer_wait&) = delete;
    peer_wait& operator=(const peer_wait&) = delete;

    // NOLINTBEGIN(bugprone-unchecked-optional-access): one of the two is there

    [[nodiscard]] bool await_ready() const noexcept {
        return operation_ && operation_->await_ready();
    }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        if (operation_) {
            return operation_->await_suspend(awaiting, where);
        }
        // Not resumed from here: the answer to the operation's side is a bool.
        child_.handle = task_->await_suspend(awaiting, where);
        child_.context = awaiting.promise().context;
        child_.context->loop->resume_next(child_);
        return true;
    }

    T await_resume() { return operation_ ? operation_->await_resume() : task_->await_resume(); }

    /// Without throwing; see as_result. Throws std::bad_alloc all the same.
    result<T> outcome() {
        if (operation_) {
            return operation_->outcome();
        }
        try {
            if constexpr (std::is_void_v<T>) {
                task_->await_resume();
                return {};
            } else {
                return result<T>(task_->await_resume());
            }
        } catch (const cancelled&) {
            return make_error_code(std::errc::operation_canceled);
        } catch (const std::system_error& failure) {
            return failure.code();
        }
    }

    // NOLINTEND(bugprone-unchecked-optional-access)

  private:
    std::optional<Operation> operation_;
    std::optional<detail::owned_task_awaiter<T>> task_;
    detail::ready_node child_;
};

class peer_stream {
  public:
    explicit peer_stream(std::unique_ptr<stream> plain) noexcept : plain_(std::move(plain)) {}

    /// After its handshake.
    explicit peer_stream(std::unique_ptr<tls_stream> secured) noexcept
        : secured_(std::move(secured)) {}

    using receiving = peer_wait<detail::receive_piece, received>;
    using writing = peer_wait<detail::send_all_op, void>;

    /// The next bytes; empty where the peer says that there are no more. Throws std::system_error,
    /// or `cancelled`.
    [[nodiscard]] receiving receive() {
        return secured_ ? receiving(secured_->receive()) : receiving(std::in_place, *plain_);
    }

    /// Writes all of `bytes`.
    [[nodiscard]] writing write_all(std::span<const char> bytes) {
        return secured_ ? writing(secured_->write_all(bytes))
                        : writing(std::in_place, *plain_, bytes,
                                  std::numeric_limits<std::size_t>::max());
    }

    /// The peer reads to the end of what was written, and may go on writing.
    [[nodiscard]] task<> shutdown_write() {
        if (secured_) {
            co_await secured_->shutdown_write();
        } else {
            co_await plain_->shutdown_write();
        }
    }

    /// Does not wait for the peer.
    [[nodiscard]] task<> close() {
        if (secured_) {
            co_await secured_->close();
        } else {
            co_await plain_->close();
        }
    }

    /// For what concerns the connection and not what is said.
    [[nodiscard]] stream& socket() noexcept { return secured_ ? secured_->beneath() : *plain_; }

  private:
    /// One of them.
    const std::unique_ptr<stream> plain_;
    const std::unique_ptr<tls_stream> secured_;
};

} // namespace sapwood
