#include "link_tls.hpp"

#include <sapwood/amqp/errors.hpp>

#include <sapwood/connect.hpp>
#include <sapwood/run_blocking.hpp>

#include <fmt/format.h>
#include <stdexcept>
#include <string>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

using shared_context = std::shared_ptr<const tls_context>;

[[nodiscard]] tls_client_options client_options(const host_port& host, const tls_settings& from) {
    tls_client_options made;
    made.ca = from.verify ? from.ca_file : std::string();
    made.believes_system = from.verify && from.ca_file.empty();
    made.certificate = from.certificate_file;
    made.key = from.key_file;
    made.server = from.server_name.empty() ? host.host : from.server_name;
    return made;
}

/// Reads files, and of the system's authorities there are many: not on the loop.
task<shared_context> read_context(const host_port& host, const address& to) {
    const tls_client_options wanted = client_options(host, to.tls);
    const auto make = [&wanted] { return std::make_shared<const tls_context>(wanted); };
    try {
        co_return co_await run_blocking(make);
    } catch (const std::runtime_error& failure) {
        if (dynamic_cast<const std::system_error*>(&failure) != nullptr) {
            throw; // no thread could be had
        }
        throw std::system_error(errc::tls_unusable, failure.what());
    }
}

[[nodiscard]] std::string advice(tls_errc why, std::string_view words, const host_port& host,
                                 const tls_settings& with) {
    switch (why) {
    case tls_errc::bad_certificate:
        if (words.find("mismatch") != words.npos) {
            return fmt::format(
                "it is not for '{}': connect by the name that it is for, or say which "
                "(server_name_indication)",
                with.server_name.empty() ? host.host : with.server_name);
        }
        return with.ca_file.empty() ? "say who has signed it (cacertfile), where it is not "
                                      "somebody whom this system "
                                      "believes"
                                    : fmt::format("has somebody in {} signed it?", with.ca_file);
    case tls_errc::refused:
        return with.certificate_file.empty()
                   ? "it asks for a certificate: give one (certfile, keyfile)"
                   : fmt::format("has somebody whom it believes signed {}?", with.certificate_file);
    case tls_errc::not_tls:
    case tls_errc::plain_http:
        return fmt::format("is {} a port for TLS (5671 is RabbitMQ's), and not for amqp:// (5672)?",
                           host.port);
    case tls_errc::nothing_in_common:
        return "TLS 1.2 is the least that we speak";
    default:
        return "its log may say more";
    }
}

} // namespace

void require_securable(const address& to) {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw std::invalid_argument(fmt::format("AMQP: {}", what));
        }
    };
    require(!to.is_secured || tls_context::is_built(),
            "amqps:// needs TLS, and this sapwood was built without OpenSSL: build it with "
            "(libssl-dev, -Dtls=enabled), or say amqp://");
    require(to.tls.certificate_file.empty() == to.tls.key_file.empty(),
            "a certificate and its key (certfile, keyfile) are given together");
    require(
        to.by == login::password || (to.is_secured && !to.tls.certificate_file.empty()),
        "to log in by a certificate (auth_mechanism=external) needs amqps:// and one (certfile, "
        "keyfile)");
}

task<std::unique_ptr<peer_stream>> connect_securely(const host_port& host, const address& to) {
    shared_context with;
    if (to.is_secured) {
        with = co_await read_context(host, to);
    }
    std::unique_ptr<stream> plain =
        std::make_unique<tcp_stream>(co_await connect_to(host.host, host.port));
    if (with == nullptr) {
        co_return std::make_unique<peer_stream>(std::move(plain));
    }
    auto secured =
        std::make_unique<tls_stream>(std::move(plain), std::move(with), tls_use::two_way);
    try {
        co_await secured->handshake();
    } catch (const std::system_error& failure) {
        rethrow_tls(failure, host, to);
    }
    co_return std::make_unique<peer_stream>(std::move(secured));
}

void rethrow_tls(const std::system_error& failure, const host_port& host, const address& to) {
    if (failure.code().category() != tls_category()) {
        throw; // NOLINT(bugprone-exception-escape): called where it is handled
    }
    const auto why = static_cast<tls_errc>(failure.code().value());
    // Whoever is cut off in the handshake may try again; all else stays as it is.
    const errc meaning = why == tls_errc::truncated         ? errc::connection_lost
                         : why == tls_errc::bad_certificate ? errc::not_trusted
                                                            : errc::tls_failed;
    throw std::system_error(meaning, fmt::format("TLS: {}: {}", failure.what(),
                                                 advice(why, failure.what(), host, to.tls)));
}

void rethrow_lost(const std::system_error& failure) {
    if (failure.code().category() != tls_category()) {
        throw;
    }
    throw std::system_error(errc::connection_lost, fmt::format("TLS: {}", failure.what()));
}

} // namespace sapwood::amqp::detail
