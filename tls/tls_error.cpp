#include "tls_context.hpp"

namespace sapwood {

namespace {

class tls_error_category final : public std::error_category {
  public:
    [[nodiscard]] const char* name() const noexcept override { return "tls"; }

    [[nodiscard]] std::string message(int value) const override {
        switch (static_cast<tls_errc>(value)) {
        case tls_errc::truncated:
            return "the peer is gone and has not said that it ends: something may be cut off";
        case tls_errc::plain_http:
            return "an HTTP request came without TLS: use https";
        case tls_errc::not_tls:
            return "what came is not TLS";
        case tls_errc::no_certificate:
            return "the peer has shown no certificate";
        case tls_errc::bad_certificate:
            return "the peer's certificate is not believed";
        case tls_errc::refused:
            return "the peer does not believe our certificate";
        case tls_errc::nothing_in_common:
            return "there is no version, cipher or protocol that both know";
        case tls_errc::broken:
            return "what came breaks the rules of TLS";
        }
        return "unknown TLS error " + std::to_string(value);
    }
};

} // namespace

const std::error_category& tls_category() noexcept {
    static const tls_error_category instance;
    return instance;
}

std::error_code make_error_code(tls_errc value) noexcept {
    return {static_cast<int>(value), tls_category()};
}

} // namespace sapwood
