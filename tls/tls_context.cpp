#include "tls_context.hpp"

#include "tls_stream.hpp"

#include <sapwood/fmt_library.hpp>

#include <ctime>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace sapwood {

namespace {

/// A client that is let in by a certificate shows a few; OpenSSL takes memory for all that it has
/// announced before they come.
constexpr long client_certificates_bytes_max = 32 << 10;

/// What OpenSSL says of the last failure.
std::string last_words() {
    const unsigned long first = ERR_peek_error();
    const unsigned long error = ERR_peek_last_error();
    const char* const reason = ERR_reason_error_string(error);
    std::string text = reason != nullptr ? reason : "unknown reason";
    if (first != 0 && ERR_GET_LIB(first) == ERR_LIB_SYS) {
        // What stands above it says only that a system call has failed.
        text = std::generic_category().message(ERR_GET_REASON(first));
    }
    ERR_clear_error();
    return text;
}

[[noreturn]] void fail_with_file(std::string_view what, const std::string& path) {
    throw std::runtime_error(fmt::format("{} {}: {}", what, path, last_words()));
}

SSL_CTX* make_context(const SSL_METHOD* method) {
    ERR_clear_error();
    SSL_CTX* const made = SSL_CTX_new(method);
    if (made == nullptr) {
        throw std::runtime_error("OpenSSL cannot be used: " + last_words());
    }
    SSL_CTX_set_min_proto_version(made, TLS1_2_VERSION);
    SSL_CTX_set_security_level(made, 2);
    SSL_CTX_set_options(made, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                  SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    // A connection that waits has no buffers. Tickets need no memory here either; sessions would.
    SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    // By default it would ask at the terminal, and wait.
    SSL_CTX_set_default_passwd_cb(made, [](char*, int, int, void*) { return -1; });
    return made;
}

void use_certificate(SSL_CTX* context, const std::string& certificate, const std::string& key) {
    if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
        fail_with_file("cannot use the certificate", certificate);
    }
    if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
        fail_with_file("cannot use the key", key);
    }
    if (SSL_CTX_check_private_key(context) != 1) {
        fail_with_file("the key is not that of " + certificate + ":", key);
    }
}

void trust(SSL_CTX* context, const std::string& ca) {
    if (SSL_CTX_load_verify_locations(context, ca.c_str(), nullptr) != 1) {
        fail_with_file("cannot use the certificates to believe in", ca);
    }
}

/// What clients may choose from, so that they show a certificate that we would believe.
void name_trusted(SSL_CTX* context, const std::string& ca) {
    STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(ca.c_str());
    if (names == nullptr) {
        fail_with_file("cannot use the certificates to believe in", ca);
    }
    SSL_CTX_set_client_CA_list(context, names);
}

/// Of those protocols that the client names we speak one.
int choose_protocol(SSL* tls, const unsigned char** chosen, unsigned char* chosen_bytes,
                    const unsigned char* offered, unsigned offered_bytes, void*) {
    static constexpr unsigned char ours[] = "\x08http/1.1";
    const auto* const of = static_cast<const tls_use*>(SSL_get_app_data(tls));
    if (of == nullptr || *of != tls_use::http) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    unsigned char* found = nullptr;
    if (SSL_select_next_proto(&found, chosen_bytes, ours, sizeof(ours) - 1, offered,
                              offered_bytes) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

std::chrono::system_clock::time_point end_of(const X509* certificate) {
    std::tm utc{};
    if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &utc) != 1) {
        return {};
    }
    return std::chrono::system_clock::from_time_t(::timegm(&utc));
}

} // namespace

bool tls_context::is_built() noexcept {
    return true;
}

tls_context::tls_context(const tls_options& options) {
    if (options.certificate.empty() || options.key.empty()) {
        throw std::runtime_error("TLS needs a certificate and its key, and one of them is missing");
    }
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> made(make_context(TLS_server_method()),
                                                            SSL_CTX_free);
    use_certificate(made.get(), options.certificate, options.key);
    if (!options.client_ca.empty()) {
        trust(made.get(), options.client_ca);
        SSL_CTX_set_max_cert_list(made.get(), client_certificates_bytes_max);
        name_trusted(made.get(), options.client_ca);
        SSL_CTX_set_verify(made.get(),
                           SSL_VERIFY_PEER |
                               (options.client_is_optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT),
                           nullptr);
        // A session that is gone on with has nobody looked at again: whether his time is over,
        // whether we believe who has signed it still.
        SSL_CTX_set_options(made.get(), SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(made.get(), 0);
    }
    // Without one, a session that has a client's certificate is not gone on with.
    static constexpr unsigned char session_context[] = "sapwood";
    SSL_CTX_set_session_id_context(made.get(), session_context, sizeof(session_context) - 1);
    SSL_CTX_set_alpn_select_cb(made.get(), choose_protocol, nullptr);
    expiry_ = end_of(SSL_CTX_get0_certificate(made.get()));
    SSL_CTX_up_ref(made.get());
    context_ = made.get();
}

tls_context::tls_context(const tls_client_options& options)
    : is_client_(true),
      server_(options.server) {
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> made(make_context(TLS_client_method()),
                                                            SSL_CTX_free);
    if (!options.ca.empty()) {
        trust(made.get(), options.ca);
    } else if (options.believes_system && SSL_CTX_set_default_verify_paths(made.get()) != 1) {
        throw std::runtime_error("cannot use the certificates that the system believes: " +
                                 last_words());
    }
    if (!options.ca.empty() || options.believes_system) {
        SSL_CTX_set_verify(made.get(), SSL_VERIFY_PEER, nullptr);
    }
    if (!options.certificate.empty()) {
        use_certificate(made.get(), options.certificate, options.key);
        expiry_ = end_of(SSL_CTX_get0_certificate(made.get()));
    }
    SSL_CTX_up_ref(made.get());
    context_ = made.get();
}

tls_context::~tls_context() {
    SSL_CTX_free(context_);
}

} // namespace sapwood
