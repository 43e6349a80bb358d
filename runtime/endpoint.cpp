#include <sapwood/endpoint.hpp>
#include <sapwood/fmt_library.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <net/if.h>
#include <netinet/in.h>
#include <optional>
#include <sys/un.h>
#include <system_error>

namespace sapwood {

namespace {

constexpr std::string_view unix_prefix = "unix:";
constexpr std::size_t unix_name_offset = offsetof(sockaddr_un, sun_path);
/// A path ends with a NUL; an abstract name begins with one.
constexpr std::size_t unix_name_max = sizeof(sockaddr_un::sun_path) - 1;

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
    throw std::system_error(EINVAL, std::generic_category(), fmt::format("'{}' {}", text, why));
}

template <class Number>
std::optional<Number> number_in(std::string_view text, int base = 10) noexcept {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

/// A peer chooses its name; it must not be able to forge a line of a log.
std::string escaped(std::string_view name) {
    std::string text;
    for (const char letter : name) {
        const auto byte = static_cast<unsigned char>(letter);
        if (byte < 0x20 || byte >= 0x7f || letter == '\\') {
            text += fmt::format("\\x{:02x}", byte);
        } else {
            text += letter;
        }
    }
    return text;
}

std::string unescaped(std::string_view text) {
    std::string name;
    while (!text.empty()) {
        if (text.starts_with("\\x") && text.size() >= 4) {
            if (const auto byte = number_in<unsigned char>(text.substr(2, 2), 16)) {
                name += static_cast<char>(*byte);
                text.remove_prefix(4);
                continue;
            }
        }
        name += text.front();
        text.remove_prefix(1);
    }
    return name;
}

void require_unix_name(std::string_view name) {
    if (name.empty() || name.size() > unix_name_max) {
        refuse(escaped(name), fmt::format("is no name of a Unix socket: it has {} bytes, and 1 to "
                                          "{} are possible",
                                          name.size(), unix_name_max));
    }
}

std::uint32_t scope_of(std::string_view whole, const std::string& name) {
    if (const unsigned index = ::if_nametoindex(name.c_str()); index != 0) {
        return index;
    }
    if (const auto index = number_in<std::uint32_t>(name)) {
        return *index;
    }
    refuse(whole, fmt::format("names a network interface that is not there: {}", name));
}

} // namespace

endpoint::endpoint(std::string_view address, std::uint16_t port) {
    const auto percent = address.find('%');
    const std::string bare(address.substr(0, percent));
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    if (percent == address.npos && ::inet_pton(AF_INET, bare.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        std::memcpy(&storage_, &v4, sizeof(v4));
        size_ = sizeof(v4);
    } else if (::inet_pton(AF_INET6, bare.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        if (percent != address.npos) {
            v6.sin6_scope_id = scope_of(address, std::string(address.substr(percent + 1)));
        }
        std::memcpy(&storage_, &v6, sizeof(v6));
        size_ = sizeof(v6);
    } else {
        refuse(address, "is no IPv4 or IPv6 address in numbers; names are not resolved here, but "
                        "by connect_to() and resolve()");
    }
}

endpoint::endpoint(const sockaddr* address, socklen_t size) noexcept
    : size_(std::min(size, socklen_t{sizeof(storage_)})) {
    std::memcpy(&storage_, address, size_);
}

endpoint endpoint::parse(std::string_view text) {
    if (text.starts_with(unix_prefix)) {
        const auto name = text.substr(unix_prefix.size());
        return name.starts_with('@') ? unix_abstract(unescaped(name.substr(1)))
                                     : unix_path(unescaped(name));
    }
    const auto colon = text.rfind(':');
    auto address = text.substr(0, colon);
    const bool has_brackets = address.starts_with('[') && address.ends_with(']');
    if (colon == text.npos || (!has_brackets && address.find(':') != address.npos)) {
        refuse(text, "is no endpoint: write 127.0.0.1:80, [::1]:80, unix:/path or unix:@name");
    }
    if (has_brackets) {
        address = address.substr(1, address.size() - 2);
    }
    const auto port = number_in<std::uint16_t>(text.substr(colon + 1));
    if (!port) {
        refuse(text, "has no port from 0 to 65535 after its last colon");
    }
    return endpoint(address, *port);
}

endpoint endpoint::unix_path(std::string_view path) {
    require_unix_name(path);
    if (path.find('\0') != path.npos) {
        refuse(escaped(path), "is no path: it contains a NUL");
    }
    endpoint made;
    made.set_unix(path, true);
    return made;
}

endpoint endpoint::unix_abstract(std::string_view name) {
    require_unix_name(name);
    endpoint made;
    made.set_unix(name, false);
    return made;
}

void endpoint::set_unix(std::string_view name, bool is_path) noexcept {
    storage_.ss_family = AF_UNIX;
    auto* const at = reinterpret_cast<char*>(&storage_) + unix_name_offset;
    std::memcpy(is_path ? at : at + 1, name.data(), name.size());
    size_ = static_cast<socklen_t>(unix_name_offset + name.size() + 1);
}

/// As the kernel has it, the leading NUL of an abstract name included.
std::string_view endpoint::unix_name() const noexcept {
    if (family() != AF_UNIX || size_ <= unix_name_offset) {
        return {};
    }
    const std::string_view name(reinterpret_cast<const char*>(&storage_) + unix_name_offset,
                                size_ - unix_name_offset);
    return name.front() == '\0' ? name : name.substr(0, name.find('\0'));
}

std::uint16_t endpoint::port() const noexcept {
    sockaddr_in v4{}; // the port is at the same place in both
    std::memcpy(&v4, &storage_, sizeof(v4));
    return family() == AF_INET || family() == AF_INET6 ? ntohs(v4.sin_port) : std::uint16_t{0};
}

std::string endpoint::address() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (family() == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &storage_, sizeof(v4));
        return ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    }
    if (family() == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &storage_, sizeof(v6));
        std::string address = ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
        if (v6.sin6_scope_id != 0) {
            std::array<char, IF_NAMESIZE> name{};
            address += '%';
            address += ::if_indextoname(v6.sin6_scope_id, name.data()) != nullptr
                           ? std::string(name.data())
                           : std::to_string(v6.sin6_scope_id);
        }
        return address;
    }
    const std::string_view name = unix_name();
    if (name.starts_with('\0')) {
        return '@' + escaped(name.substr(1));
    }
    // A relative path may begin with the sign of an abstract name.
    return name.starts_with('@') ? "\\x40" + escaped(name.substr(1)) : escaped(name);
}

std::string endpoint::path() const {
    const std::string_view name = unix_name();
    return name.starts_with('\0') ? std::string() : std::string(name);
}

std::string endpoint::to_string() const {
    switch (family()) {
    case AF_INET:
        return fmt::format("{}:{}", address(), port());
    case AF_INET6:
        return fmt::format("[{}]:{}", address(), port());
    case AF_UNIX:
        return fmt::format("{}{}", unix_prefix, address());
    default:
        return "nowhere";
    }
}

bool operator==(const endpoint& one, const endpoint& other) noexcept {
    if (one.family() != other.family()) {
        return false;
    }
    if (one.family() == AF_UNIX) {
        return one.unix_name() == other.unix_name();
    }
    return one.size_ == other.size_ && std::memcmp(&one.storage_, &other.storage_, one.size_) == 0;
}

} // namespace sapwood
