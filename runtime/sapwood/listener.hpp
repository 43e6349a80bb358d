// listener: a socket that accepts, the part that TCP and Unix listeners share: what to do when a
// connection cannot be had. Loop thread only.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/socket.hpp>

#include <functional>
#include <string_view>

namespace sapwood {

/// A listener that has no descriptor or memory for the next connection tries again after this long.
/// The connection waits in the backlog meanwhile.
inline constexpr clock::duration accept_pause = std::chrono::milliseconds(100);

/// Connections that wait to be accepted, and more than that are turned away. The kernel cuts it at
/// net.core.somaxconn, which is 4096 by default.
inline constexpr int backlog_default = 4096;

class listener : public socket {
  public:
    /// Gets a line when accepting pauses for want of descriptors or memory, once, and another when
    /// it goes on. By default they are printed on standard error. Must not throw.
    void on_pause(std::function<void(std::string_view line)> report);

  protected:
    using socket::socket;

    /// The next connection. The loop accepts ahead, so that the kernel has to be asked only once;
    /// from 16 that nobody has asked for it stops, but those that stood in the backlog by then have
    /// been accepted. Those that are gone before they are accepted are
    /// skipped; while there is no descriptor or memory for one, tries again every accept_pause.
    [[nodiscard]] task<owned_fd> next_connection();

  private:
    void say(const std::string& line) const noexcept;

    std::function<void(std::string_view)> report_;
    bool is_pausing_ = false;
    bool lacks_multishot_ = false;
};

} // namespace sapwood
