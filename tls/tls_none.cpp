// Of a build without OpenSSL: there are no contexts, and so no streams.
#include "tls_stream.hpp"

#include <stdexcept>

namespace sapwood {

namespace {

[[noreturn]] void refuse_tls() {
    throw std::runtime_error("there is no TLS: this program was built without OpenSSL");
}

} // namespace

bool tls_context::is_built() noexcept {
    return false;
}

tls_context::tls_context(const tls_options&) {
    refuse_tls();
}

tls_context::tls_context(const tls_client_options&) {
    refuse_tls();
}

tls_context::~tls_context() = default;

tls_stream::tls_stream(std::unique_ptr<stream> under, std::shared_ptr<const tls_context> with,
                       tls_use use)
    : context_(std::move(with)),
      under_(std::move(under)),
      use_(use) {}

tls_stream::~tls_stream() = default;

task<> tls_stream::handshake() {
    refuse_tls();
    co_return;
}

std::string tls_stream::peer_name() const {
    return {};
}

std::string_view tls_stream::version() const noexcept {
    return {};
}

bool tls_stream::is_resumed() const noexcept {
    return false;
}

task<received> tls_stream::receive() {
    co_return received();
}

task<> tls_stream::write_all(std::span<const char>) {
    co_return;
}

task<> tls_stream::shutdown_write() {
    co_return;
}

task<> tls_stream::close() {
    co_return;
}

} // namespace sapwood
