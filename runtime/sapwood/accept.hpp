// Accepting connection after connection by one standing operation of a listener. Loop thread only.
#pragma once

#include <sapwood/result.hpp>
#include <sapwood/standing_operation.hpp>

#include <cstdint>
#include <deque>
#include <string>

namespace sapwood::detail {

/// Multishot accept, of Linux 5.19; older rings fail it with EINVAL.
class standing_accept final : public standing_operation {
  public:
    /// Connections that wait to be asked for. With more the operation is broken off, and the others
    /// stay in the backlog.
    static constexpr unsigned pending_max = 16;

    explicit standing_accept(int fd) : standing_operation(fd) {}

    /// Closes connections that nobody asked for.
    ~standing_accept() override;

    void prepare(io_uring_sqe& sqe) noexcept override;
    void progress(std::int32_t value, std::uint32_t flags) noexcept override;

  private:
    void loop_joined() override {}

    [[nodiscard]] bool give(standing_wait& who) noexcept override;
    void rest(std::int32_t value, std::uint32_t flags) noexcept override;
    void drop(std::int32_t value, std::uint32_t flags) noexcept override;

    std::deque<int> pending_;
};

class [[nodiscard]] accept_connection final : public standing_wait {
  public:
    explicit accept_connection(owned_fd& on) noexcept : standing_wait(on) {}

    /// The next connection. Throws `cancelled`, or std::system_error.
    owned_fd await_resume() {
        check();
        return std::move(connection_);
    }

    /// The same without throwing; see as_result.
    result<owned_fd> outcome();

    [[nodiscard]] std::string describe() const override;

    void set(int fd) noexcept { connection_ = owned_fd(fd); }

  private:
    [[nodiscard]] std::unique_ptr<standing_operation> make() const override;

    owned_fd connection_;
};

} // namespace sapwood::detail
