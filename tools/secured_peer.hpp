// secured_peer: a connection by TLS over TCP, for who sends records. Loop thread only.
#pragma once

#include "send_target.hpp"

#include <tls/tls_stream.hpp>

#include <sapwood/received.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace sapwood::tools {

class secured_peer {
  public:
    /// None.
    secured_peer() = default;

    /// Connects, and shakes hands, each for so long at most. Throws std::system_error, whose text
    /// says what to do.
    [[nodiscard]] static task<secured_peer> connect(host_and_port to,
                                                    std::shared_ptr<const tls_context> with);

    [[nodiscard]] bool is_open() const noexcept { return stream_ != nullptr; }

    [[nodiscard]] int fd() const noexcept { return stream_->beneath().fd(); }

    /// As those of streams. An end that was not announced is an error.
    [[nodiscard]] task<std::size_t> read_some(std::span<char> into);
    [[nodiscard]] task<> write_all(std::string_view bytes);
    [[nodiscard]] task<> shutdown_write();

  private:
    [[nodiscard]] task<> receive();
    [[nodiscard]] task<> send(task<> what);

    std::unique_ptr<tls_stream> stream_;
    /// What has come and was not read.
    received piece_;
    std::string_view rest_;
};

/// What connections to `to` have in common. Throws
/// std::invalid_argument or std::runtime_error that says what is wrong with the options.
[[nodiscard]] std::shared_ptr<const tls_context> context_of(const host_and_port& to,
                                                            const tls_send_options& options);

/// It would fail in the same way again: the other side is not whom we believe, or does not believe
/// us, or speaks no TLS.
[[nodiscard]] bool is_hopeless(const std::error_code& why) noexcept;

} // namespace sapwood::tools
