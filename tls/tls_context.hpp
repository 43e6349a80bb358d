// tls_context: what the handshakes of a time have in common: certificate, key, and who of the
// clients is believed. Sessions that have begun keep theirs; new certificates are a new context.
// TLS 1.2 and 1.3, the ciphers of OpenSSL at level 2 (112 bits), no renegotiation, no compression,
// no early data. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>

struct ssl_ctx_st;

namespace sapwood {

struct tls_options {
    /// PEM files: the chain, ours first, and the key, without a password.
    std::string certificate;
    std::string key;
    /// Clients show a certificate that one of these has signed. Empty: nobody is asked for one.
    std::string client_ca;
    /// Who has none may write all the same.
    bool client_is_optional = false;
    /// For a handshake.
    std::chrono::nanoseconds handshake = std::chrono::seconds(10);

    [[nodiscard]] bool is_wanted() const noexcept { return !certificate.empty() || !key.empty(); }
};

/// For connecting to one. What is empty is not used.
struct tls_client_options {
    /// Whom to believe, PEM. Empty: everybody, or those whom the system believes.
    std::string ca = {};
    bool believes_system = false;
    std::string certificate = {};
    std::string key = {};
    /// The name or address that the server's certificate must be for.
    std::string server = {};
};

/// Why a TLS connection has ended.
enum class tls_errc : std::uint8_t {
    /// The peer is gone, and has not said that this is the end (close_notify): whoever stands
    /// between us may have cut off what comes behind.
    truncated = 1,
    /// An HTTP request came where a handshake should.
    plain_http,
    /// Something else came.
    not_tls,
    /// The peer was asked for a certificate and has none.
    no_certificate,
    /// Nobody whom we believe has signed the peer's certificate, or its time is over.
    bad_certificate,
    /// The peer does not believe our certificate.
    refused,
    /// No version, cipher or protocol is common to both.
    nothing_in_common,
    /// What came breaks the rules, or was changed on its way.
    broken,
};

[[nodiscard]] const std::error_category& tls_category() noexcept;
[[nodiscard]] std::error_code make_error_code(tls_errc value) noexcept;

class tls_context {
  public:
    /// Throws std::runtime_error that names the file and says what is wrong with it.
    explicit tls_context(const tls_options& options);
    explicit tls_context(const tls_client_options& options);
    tls_context(const tls_context&) = delete;
    tls_context& operator=(const tls_context&) = delete;
    ~tls_context();

    /// Whether there is TLS in this build.
    [[nodiscard]] static bool is_built() noexcept;

    [[nodiscard]] bool is_client() const noexcept { return is_client_; }

    /// When our certificate ends.
    [[nodiscard]] std::chrono::system_clock::time_point expiry() const noexcept { return expiry_; }

    /// Of a client.
    [[nodiscard]] const std::string& server() const noexcept { return server_; }

    [[nodiscard]] ssl_ctx_st* handle() const noexcept { return context_; }

  private:
    ssl_ctx_st* context_ = nullptr;
    bool is_client_ = false;
    std::string server_;
    std::chrono::system_clock::time_point expiry_{};
};

} // namespace sapwood

template <>
struct std::is_error_code_enum<sapwood::tls_errc> : std::true_type {};
