// Whom a peer's certificate is for.
#include "tls_stream.hpp"

#include <sapwood/fmt_library.hpp>

#include <iterator>
#include <memory>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace sapwood {

namespace {

constexpr std::size_t certificate_name_bytes_max = 256;

void append_certificate_name(std::string_view name, std::string& to) {
    for (const char c : name.substr(0, certificate_name_bytes_max)) {
        if (c > ' ' && c < '\x7f' && c != '%' && c != '[' && c != ']' && c != '"' && c != '\\') {
            to += c;
        } else {
            fmt::format_to(std::back_inserter(to), "%{:02X}", static_cast<unsigned char>(c));
        }
    }
}

std::string first_alternative_name(const X509* certificate) {
    const std::unique_ptr<GENERAL_NAMES, void (*)(GENERAL_NAMES*)> names(
        static_cast<GENERAL_NAMES*>(
            X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
        GENERAL_NAMES_free);
    std::string name;
    for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        int type = 0;
        const void* const value =
            GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
        if (type == GEN_DNS || type == GEN_EMAIL || type == GEN_URI) {
            const auto* const text = static_cast<const ASN1_STRING*>(value);
            append_certificate_name({reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                     static_cast<std::size_t>(ASN1_STRING_length(text))},
                                    name);
            break;
        }
    }
    return name;
}

std::string subject_of(const X509* certificate) {
    const std::unique_ptr<BIO, int (*)(BIO*)> memory(BIO_new(BIO_s_mem()), BIO_free);
    std::string name;
    if (memory != nullptr && X509_NAME_print_ex(memory.get(), X509_get_subject_name(certificate), 0,
                                                XN_FLAG_RFC2253) >= 0) {
        char* text = nullptr;
        const long size = BIO_get_mem_data(memory.get(), &text);
        append_certificate_name({text, static_cast<std::size_t>(size)}, name);
    }
    return name;
}

} // namespace

std::string tls_stream::peer_name() const {
    const std::unique_ptr<X509, void (*)(X509*)> certificate(SSL_get1_peer_certificate(tls_),
                                                             X509_free);
    if (certificate == nullptr) {
        return {};
    }
    std::string name = first_alternative_name(certificate.get());
    return name.empty() ? subject_of(certificate.get()) : name;
}

} // namespace sapwood
