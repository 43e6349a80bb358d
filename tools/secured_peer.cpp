#include "secured_peer.hpp"

#include <sapwood/connect.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace sapwood::tools {

namespace {

constexpr auto handshake_within = std::chrono::seconds(5);

std::string_view advice(const std::error_code& why) noexcept {
    if (why == tls_errc::bad_certificate) {
        return "; say who has signed its certificate (--tls-ca), and connect by the name that is "
               "in it";
    }
    if (why == tls_errc::refused || why == tls_errc::no_certificate) {
        return "; it wants a certificate that it believes (--tls-cert, --tls-key)";
    }
    if (why == tls_errc::not_tls) {
        return "; is that a port for TLS?";
    }
    return "";
}

[[noreturn]] void rethrow_with(std::string_view what_to_do, const std::system_error& failure) {
    if (what_to_do.empty() && failure.code().category() != tls_category()) {
        throw; // NOLINT(bugprone-exception-escape): called where it is handled
    }
    // Of what is no TLS OpenSSL says that its version is wrong.
    std::string_view why = failure.code() == tls_errc::not_tls ? "" : failure.what();
    const std::string meaning = failure.code().message(); // which the new one adds again
    if (why.ends_with(meaning)) {
        why.remove_suffix(meaning.size());
    }
    while (why.ends_with(' ') || why.ends_with(':')) {
        why.remove_suffix(1);
    }
    throw std::system_error(failure.code(),
                            fmt::format("TLS{}{}{}", what_to_do, why.empty() ? "" : ": ", why));
}

} // namespace

task<secured_peer> secured_peer::connect(host_and_port to,
                                         std::shared_ptr<const tls_context> with) {
    tcp_stream socket = co_await timeout(connect_within, connect_to(to.host, to.port));
    auto plain = std::make_unique<tcp_stream>(std::move(socket));
    secured_peer made;
    made.stream_ =
        std::make_unique<tls_stream>(std::move(plain), std::move(with), tls_use::two_way);
    try {
        co_await timeout(handshake_within, made.stream_->handshake());
    } catch (const std::system_error& failure) {
        rethrow_with(failure.code() == std::errc::timed_out
                         ? "; nobody shakes hands there: is that a port for TLS?"
                         : advice(failure.code()),
                     failure);
    }
    co_return made;
}

task<std::size_t> secured_peer::read_some(std::span<char> into) {
    if (rest_.empty()) {
        co_await receive();
    }
    const std::size_t size = std::min(into.size(), rest_.size());
    rest_.copy(into.data(), size);
    rest_.remove_prefix(size);
    if (rest_.empty()) {
        piece_ = received();
    }
    co_return size;
}

/// What is read next. There is no rest.
task<> secured_peer::receive() {
    try {
        piece_ = co_await stream_->receive();
    } catch (const std::system_error& failure) {
        rethrow_with(advice(failure.code()), failure);
    }
    rest_ = piece_.text();
}

/// Does `what`, which sends. Where the other side is gone, it may have said why before:
/// TLS of it is thrown, and what it has written is read next.
task<> secured_peer::send(task<> what) {
    std::exception_ptr failure;
    try {
        co_await std::move(what);
        co_return;
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::broken_pipe && error.code() != std::errc::connection_reset) {
            throw;
        }
        failure = std::current_exception();
    }
    try {
        if (rest_.empty()) {
            co_await receive();
        }
    } catch (const std::system_error& error) {
        if (is_hopeless(error.code())) {
            throw;
        }
    }
    std::rethrow_exception(failure);
}

task<> secured_peer::write_all(std::string_view bytes) {
    return send(stream_->write_all(std::span<const char>(bytes)));
}

task<> secured_peer::shutdown_write() {
    return send(stream_->shutdown_write());
}

std::shared_ptr<const tls_context> context_of(const host_and_port& to,
                                              const tls_send_options& options) {
    if (options.certificate.empty() != options.key.empty()) {
        throw std::invalid_argument("--tls-cert and --tls-key are given together");
    }
    return std::make_shared<const tls_context>(
        tls_client_options{.ca = options.ca,
                           .believes_system = options.ca.empty(),
                           .certificate = options.certificate,
                           .key = options.key,
                           .server = to.host});
}

bool is_hopeless(const std::error_code& why) noexcept {
    return why.category() == tls_category() && why != tls_errc::truncated &&
           why != tls_errc::broken;
}

} // namespace sapwood::tools
