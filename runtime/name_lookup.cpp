#include "name_lookup.hpp"

#include <sapwood/fmt_library.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

namespace sapwood {

namespace {

class lookup_category final : public std::error_category {
  public:
    const char* name() const noexcept override { return "sapwood.resolve"; }

    std::string message(int value) const override {
        switch (static_cast<resolve_errc>(value)) {
        case resolve_errc::not_found:
            return "no such host or service is known";
        case resolve_errc::no_address:
            return "the host has no address of the wanted family";
        case resolve_errc::try_again:
            return "the name servers do not answer, try again later; are those in "
                   "/etc/resolv.conf reachable?";
        case resolve_errc::server_failed:
            return "a name server refused, or its answer cannot be used";
        case resolve_errc::unknown_service:
            return "the service is neither a port number nor in /etc/services";
        case resolve_errc::other:
            return "the system's lookup failed";
        }
        return "unknown error " + std::to_string(value);
    }
};

int family_of(address_family family) noexcept {
    switch (family) {
    case address_family::v4:
        return AF_INET;
    case address_family::v6:
        return AF_INET6;
    case address_family::any:
        break;
    }
    return AF_UNSPEC;
}

std::string purpose_of(const name_query& query) {
    return fmt::format("cannot resolve {}:{}", query.host, query.service);
}

resolve_errc errc_of(int code) noexcept {
    switch (code) {
    case EAI_NONAME:
        return resolve_errc::not_found;
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return resolve_errc::no_address;
    case EAI_AGAIN:
        return resolve_errc::try_again;
    case EAI_FAIL:
        return resolve_errc::server_failed;
    case EAI_SERVICE:
        return resolve_errc::unknown_service;
    default:
        return resolve_errc::other;
    }
}

/// EMFILE or ENFILE where no descriptor is free, which the lookup takes for a host that is not
/// there: it cannot read /etc/hosts, nor ask a server. 0 where one is.
int want_of_descriptors() noexcept {
    const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ::close(fd);
        return 0;
    }
    return errno == EMFILE || errno == ENFILE ? errno : 0;
}

[[noreturn]] void throw_failed(const name_query& query, int code, int error) {
    const std::string purpose = purpose_of(query);
    if (code == EAI_SYSTEM || code == EAI_MEMORY) {
        throw std::system_error(code == EAI_MEMORY ? ENOMEM : error, std::generic_category(),
                                purpose);
    }
    if (const int want = want_of_descriptors()) {
        throw std::system_error(want, std::generic_category(),
                                purpose + " (raise the limit with `ulimit -n`)");
    }
    const resolve_errc why = errc_of(code);
    throw std::system_error(why, why == resolve_errc::other
                                     ? fmt::format("{} ({})", purpose, ::gai_strerror(code))
                                     : purpose);
}

} // namespace

const std::error_category& resolve_category() noexcept {
    static const lookup_category instance;
    return instance;
}

std::error_code make_error_code(resolve_errc value) noexcept {
    return {static_cast<int>(value), resolve_category()};
}

namespace detail {

std::optional<endpoint> numeric_endpoint(const name_query& query) {
    std::uint16_t port = 0;
    const char* const last = query.service.data() + query.service.size();
    const auto read = std::from_chars(query.service.data(), last, port);
    if (read.ec != std::errc() || read.ptr != last) {
        // getaddrinfo takes numbers modulo 65536, with a sign and with spaces.
        if (query.service.find_first_not_of("0123456789+- \t") == query.service.npos) {
            throw std::system_error(resolve_errc::unknown_service, purpose_of(query));
        }
        return std::nullopt;
    }
    if (query.host.find('\0') != query.host.npos) {
        return std::nullopt; // and the lookup refuses it
    }
    const std::string bare = query.host.substr(0, query.host.find('%'));
    in6_addr ignored{};
    const bool is_v4 = ::inet_pton(AF_INET, query.host.c_str(), &ignored) == 1;
    if (!is_v4 && ::inet_pton(AF_INET6, bare.c_str(), &ignored) != 1) {
        return std::nullopt;
    }
    const int wanted = family_of(query.family);
    if (wanted != AF_UNSPEC && wanted != (is_v4 ? AF_INET : AF_INET6)) {
        throw std::system_error(resolve_errc::no_address, purpose_of(query));
    }
    return endpoint(query.host, port);
}

std::vector<endpoint> look_up(const name_query& query) {
    if (query.host.empty() || query.host.find('\0') != query.host.npos ||
        query.service.find('\0') != query.service.npos) {
        throw std::system_error(resolve_errc::not_found, purpose_of(query)); // not this host
    }
    addrinfo hints{};
    hints.ai_family = family_of(query.family);
    // One of each address, not one for each protocol. And no AI_ADDRCONFIG: on a machine that has
    // only its loopback it hides what /etc/hosts says.
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* first = nullptr;
    const int code = ::getaddrinfo(query.host.c_str(), query.service.c_str(), &hints, &first);
    if (code != 0) {
        throw_failed(query, code, errno);
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(first, ::freeaddrinfo);
    std::vector<endpoint> found;
    for (const auto* each = first; each != nullptr; each = each->ai_next) {
        const endpoint one(each->ai_addr, each->ai_addrlen);
        if (std::ranges::find(found, one) == found.end()) {
            found.push_back(one);
        }
    }
    return found;
}

} // namespace detail

} // namespace sapwood
