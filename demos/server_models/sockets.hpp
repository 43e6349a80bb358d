// The system calls that every model but sapwood's makes by itself. Descriptors are closed by who
// owns the value; nothing here waits, except where it says so.
#pragma once

#include "service.hpp"

#include <chrono>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>

namespace server_models {

/// A descriptor and its owner. False where there is none.
class descriptor {
  public:
    descriptor() = default;

    explicit descriptor(int fd) noexcept : fd_(fd) {}

    descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

    descriptor& operator=(descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }

    ~descriptor() { close(); }

    void close() noexcept;

    explicit operator bool() const noexcept { return fd_ >= 0; }

    [[nodiscard]] int fd() const noexcept { return fd_; }

  private:
    int fd_ = -1;
};

/// Throws std::system_error with errno: "cannot listen on 127.0.0.1:80: Permission denied".
[[noreturn]] void fail(const std::string& what);

/// While it lives, these signals interrupt nothing: `fd` is readable when one has come. To be made
/// before any thread, so that all inherit the block.
class signal_watch {
  public:
    explicit signal_watch(std::initializer_list<int> signals);

    [[nodiscard]] int fd() const noexcept { return descriptor_.fd(); }

    /// The number of the next one, 0 where there is none.
    [[nodiscard]] int next() const noexcept;

  private:
    descriptor descriptor_;
};

/// The listening socket of an event loop or of a loop that accepts, and what it does where there is
/// no descriptor for the next client: it is left in the backlog, and tried again after a pause,
/// because a listener that stays readable would keep the loop spinning.
class door {
  public:
    /// Listens, and prints where. Throws std::system_error that names the place and the reason.
    explicit door(const service& what);

    [[nodiscard]] int fd() const noexcept { return listener_.fd(); }

    /// False while it pauses: do not wait for it then.
    [[nodiscard]] bool is_open() const noexcept;

    /// How long to wait for events at most, in milliseconds as poll takes them: until the pause is
    /// over, -1 where there is none.
    [[nodiscard]] int wait_ms_max() const noexcept;

    /// The next client, non-blocking if asked, nothing where none waits or none can be had now.
    [[nodiscard]] descriptor accept(bool is_nonblocking);

  private:
    descriptor listener_;
    std::optional<std::chrono::steady_clock::time_point> shut_until_;
};

/// "127.0.0.1:40000".
[[nodiscard]] std::string peer_of(int fd);

/// Tells a client why it is not served, as far as that goes without waiting. The caller hangs up.
void turn_away(int fd, std::string_view why) noexcept;

/// Answers one client until it has left. Waits wherever a blocking socket does: for who has a
/// process or a thread for that. Returns 0, or the errno that ended it.
[[nodiscard]] int answer_until_gone(int fd, const service& what) noexcept;

/// "127.0.0.1:40000 has left" or "is lost", and why.
void say_gone(const service& what, const std::string& name, int error);

} // namespace server_models
