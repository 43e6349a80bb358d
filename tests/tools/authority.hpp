// Certificates for programs that speak TLS, made by openssl(1).
#pragma once

#include "support/shell.hpp"
#include "support/temporary_directory.hpp"

#include <tls/tls_context.hpp>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <string>

namespace sapwood::test {

inline bool has_tls() {
    if (!sapwood::tls_context::is_built()) {
        MESSAGE("skipped: built without OpenSSL");
        return false;
    }
    return is_installed("openssl");
}

/// Certificates that `openssl` has made, in a directory.
class openssl_authority {
  public:
    openssl_authority() {
        REQUIRE(
            shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
                  "-subj '/CN=test authority' -keyout " +
                  (directory / "ca.key") + " -out " + ca() + " 2>/dev/null && echo well") ==
            "well\n");
    }

    [[nodiscard]] std::string ca() const { return directory / "ca.pem"; }

    [[nodiscard]] std::string cert(const std::string& name) const {
        return directory / (name + ".pem");
    }

    [[nodiscard]] std::string key(const std::string& name) const {
        return directory / (name + ".key");
    }

    /// For localhost and 127.0.0.1, and of `name`.
    void issue(const std::string& name) const {
        fill(directory / "names", "subjectAltName=DNS:" + name + ",DNS:localhost,IP:127.0.0.1\n");
        const std::string request = directory / "request";
        REQUIRE(shell(fmt::format(
                    "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={0} "
                    "-keyout {1} -out {2} 2>/dev/null && openssl x509 -req -in {2} -CA {3} -CAkey "
                    "{4} -days 1 -extfile {5} -out {6} -CAcreateserial 2>/dev/null && echo well",
                    name, key(name), request, ca(), directory / "ca.key", directory / "names",
                    cert(name))) == "well\n");
    }

    temporary_directory directory;
};

} // namespace sapwood::test
