// Certificates for tests: an authority of its own, and what it signs, in files of a temporary
// directory. Keys are of P-256: made in no time.
#pragma once

#include "support/temporary_directory.hpp"

#include <doctest/doctest.h>
#include <memory>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string>

namespace sapwood::test {

class authority {
  public:
    struct pair {
        std::string certificate;
        std::string key;
    };

    struct wishes {
        /// As OpenSSL has it: `DNS:localhost,IP:127.0.0.1`. Empty: none.
        std::string names = "DNS:localhost,IP:127.0.0.1";
        /// Seconds from now.
        long begins = -3600;
        long ends = 86400;
    };

    explicit authority(const std::string& name)
        : key_(EVP_EC_gen("P-256"), EVP_PKEY_free),
          certificate_(make(name, key_.get(), {.names = ""}, true), X509_free) {
        path = directory_ / "ca.pem";
        write(path, [&](FILE* to) { return PEM_write_X509(to, certificate_.get()); });
    }

    /// For `name`, in files that begin with it.
    pair issue(const std::string& name) { return issue(name, wishes()); }

    pair issue(const std::string& name, const wishes& wanted) {
        const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_EC_gen("P-256"),
                                                                 EVP_PKEY_free);
        const std::unique_ptr<X509, void (*)(X509*)> made(make(name, key.get(), wanted, false),
                                                          X509_free);
        pair files{directory_ / (name + ".pem"), directory_ / (name + ".key")};
        write(files.certificate, [&](FILE* to) { return PEM_write_X509(to, made.get()); });
        write(files.key, [&](FILE* to) {
            return PEM_write_PrivateKey(to, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
        });
        return files;
    }

    /// Its certificate.
    std::string path;

  private:
    template <class Put>
    static void write(const std::string& path, Put put) {
        const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "w"),
                                                         std::fclose);
        REQUIRE(file != nullptr);
        REQUIRE(put(file.get()) == 1);
    }

    X509* make(const std::string& name, EVP_PKEY* key, const wishes& wanted, bool is_authority) {
        X509* const made = X509_new();
        REQUIRE(made != nullptr);
        X509_set_version(made, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial_);
        X509_gmtime_adj(X509_getm_notBefore(made), wanted.begins);
        X509_gmtime_adj(X509_getm_notAfter(made), wanted.ends);
        X509_set_pubkey(made, key);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
        X509* const issuer = is_authority ? made : certificate_.get();
        X509_set_issuer_name(made, X509_get_subject_name(issuer));
        X509V3_CTX context;
        X509V3_set_ctx(&context, issuer, made, nullptr, nullptr, 0);
        const auto extend = [&](int kind, const std::string& value) {
            X509_EXTENSION* const each =
                X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
            REQUIRE(each != nullptr);
            X509_add_ext(made, each, -1);
            X509_EXTENSION_free(each);
        };
        extend(NID_basic_constraints, is_authority ? "critical,CA:TRUE" : "CA:FALSE");
        if (!wanted.names.empty()) {
            extend(NID_subject_alt_name, wanted.names);
        }
        REQUIRE(X509_sign(made, key_.get(), EVP_sha256()) > 0);
        return made;
    }

    temporary_directory directory_;
    std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key_;
    long serial_ = 0;
    std::unique_ptr<X509, void (*)(X509*)> certificate_;
};

} // namespace sapwood::test
