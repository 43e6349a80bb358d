// socket_log_sink: what sinks have in common that send lines through a socket, as a stream
// (stream_log_sink) or as datagrams (datagram_log_sink): how far a write has come, which its errors
// tell, and which the handler of a crash must know. On the consumer's loop, but for that handler.
#pragma once

#include <sapwood/log_sink.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sapwood {

namespace detail {

class parts_kept;

/// Keeps the log's loop and the handler of a crash, which may run on another thread, from using one
/// socket at the same time.
class crash_gate {
  public:
    /// The loop's: what lies between the two does not wait. False where a handler has been here
    /// since the last time: what it has done to the socket is not known.
    [[nodiscard]] bool enter() noexcept;

    void leave() noexcept { is_inside_.store(false, std::memory_order_release); }

    /// The handler's. Async-signal-safe; waits for the loop, unless that has crashed in between,
    /// for a twentieth of a second at most.
    void take() noexcept;

    void give_back() noexcept { is_taken_.store(false, std::memory_order_release); }

  private:
    std::atomic<bool> is_inside_{false};
    std::atomic<bool> is_taken_{false};
    std::atomic<unsigned> visits_{0};
    unsigned visits_seen_ = 0;
};

} // namespace detail

class socket_log_sink : public log_sink {
  public:
    socket_log_sink();
    ~socket_log_sink() override;
    [[nodiscard]] task<> write(std::span<const char> lines) override;

  protected:
    /// Sends all of `lines`, and says by keep() how many bytes of them, whole lines, the kernel has
    /// taken. Shielded. Throws std::system_error and std::bad_alloc.
    [[nodiscard]] virtual task<> send(std::string_view lines) = 0;

    [[nodiscard]] std::size_t kept() const noexcept {
        return kept_.load(std::memory_order_relaxed);
    }

    void keep(std::size_t bytes) noexcept { kept_.store(bytes, std::memory_order_relaxed); }

    // --- async-signal-safe ---

    /// Whether these are the lines of the write that is under way.
    [[nodiscard]] bool are_being_sent(std::span<const char> lines) const noexcept {
        return batch_.load(std::memory_order_acquire) == lines.data();
    }

    /// Whether a line that is to be sent in a crash has the sink's own form already, as those of a
    /// batch have. Others are plain text, and stand between the last words.
    [[nodiscard]] virtual bool has_own_form(std::string_view line) const noexcept;

    /// What stands before and behind a line that is plain text, as the last ones of a process that
    /// dies are. Constant after construction.
    std::string before_last_words;
    std::string behind_last_words;

  private:
    [[noreturn]] void rethrow_kept() const;

    /// What a write throws that there is no memory to tell of. Made by the first one.
    std::unique_ptr<detail::parts_kept> untold_;
    std::atomic<const char*> batch_{nullptr};
    std::atomic<std::size_t> kept_{0};
};

} // namespace sapwood
