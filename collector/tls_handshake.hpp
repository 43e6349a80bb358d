// tls_handshake: a connection until its peer has shown that it speaks TLS, and who it is; then a
// session takes its place. Loop thread only.
#pragma once

#include "connection.hpp"
#include "source.hpp"

#include <tls/peer_stream.hpp>

#include <functional>
#include <memory>

namespace sapwood::collector {

class tls_handshake final : public connection {
  public:
    /// Makes the session that goes on.
    using session_maker =
        std::function<std::unique_ptr<connection>(std::unique_ptr<peer_stream>, source)>;

    tls_handshake(intake& shared, connections& all, std::unique_ptr<stream> peer,
                  std::shared_ptr<const tls_context> with, tls_use use, source from,
                  session_maker then);

    [[nodiscard]] task<> run() override;

    /// Nothing that it has sent is taken yet.
    [[nodiscard]] bool is_idle() const noexcept override { return true; }

  private:
    task<> refuse(std::error_code why, const std::string& text);

    connections& all_;
    const tls_use use_;
    std::unique_ptr<tls_stream> tls_;
    source source_;
    const session_maker then_;
};

} // namespace sapwood::collector
