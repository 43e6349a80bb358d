#include "access.hpp"

#include <sapwood/owned_fd.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <iterator>
#include <netinet/in.h>
#include <span>
#include <sstream>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::collector {

namespace {

constexpr std::size_t secret_bytes_min = 16;

/// Of `user:password`; who has more has no token of ours.
constexpr std::size_t basic_bytes_max = 1024;

/// Looks at every byte of `one`, which a stranger has sent, whichever differ: how long it takes
/// tells its length, which he knows.
bool is_same_secret(std::string_view one, std::string_view other) noexcept {
    unsigned char difference = one.size() == other.size() ? 0 : 1;
    for (std::size_t i = 0; i < one.size() && !other.empty(); ++i) {
        difference = static_cast<unsigned char>(
            difference | (static_cast<unsigned char>(one[i]) ^
                          static_cast<unsigned char>(other[i % other.size()])));
        asm volatile("" : "+r"(difference)); // no early end
    }
    return difference == 0;
}

std::vector<std::string> names_of(std::string_view list) {
    std::vector<std::string> names;
    while (!list.empty()) {
        const auto comma = std::min(list.find(','), list.size());
        names.emplace_back(list.substr(0, comma));
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return names;
}

/// One of `NAME=VALUE` behind a secret. False where it is none that is known.
bool take_option(access_token& token, std::string_view text) {
    const auto equals = std::min(text.find('='), text.size());
    const std::string_view name = text.substr(0, equals);
    const std::string_view value = text.substr(std::min(equals + 1, text.size()));
    if (name == "logs") {
        token.logs = names_of(value);
        return !token.logs.empty();
    }

    struct number_option {
        std::string_view name;
        std::uint64_t access_token::*member;
    };

    static constexpr number_option numbers[] = {
        {"rate", &access_token::records_per_second},
        {"burst", &access_token::records_at_once},
        {"bytes", &access_token::bytes_per_second},
        {"burst_bytes", &access_token::bytes_at_once},
    };
    const auto* const known = std::ranges::find(numbers, name, &number_option::name);
    if (known == std::end(numbers)) {
        return false;
    }
    std::uint64_t& number = token.*known->member;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
    return read.ec == std::errc() && number != 0 && read.ptr == value.data() + value.size();
}

access_token token_of(const std::string& line, const std::string& where) {
    std::istringstream words(line);
    access_token token;
    words >> token.name >> token.secret;
    if (token.secret.size() < secret_bytes_min) {
        throw std::runtime_error(
            fmt::format("{}: a token is a name and a secret of at least {} characters", where,
                        secret_bytes_min));
    }
    for (std::string word; words >> word;) {
        if (!take_option(token, word)) {
            throw std::runtime_error(
                fmt::format("{}: \"{}\" is neither logs=NAME,... nor a number as rate=1000, "
                            "burst=5000, bytes=1000000, burst_bytes=5000000",
                            where, word));
        }
    }
    if ((token.records_at_once != 0 && token.records_per_second == 0) ||
        (token.bytes_at_once != 0 && token.bytes_per_second == 0)) {
        throw std::runtime_error(
            fmt::format("{}: burst is of a rate, and burst_bytes of bytes: give both", where));
    }
    return token;
}

/// What a service manager has made for this process alone. Its mode may name a group: where it has
/// an access list that is the list's mask.
bool is_credential(const std::string& path) {
    const char* const directory = std::getenv("CREDENTIALS_DIRECTORY");
    return directory != nullptr && *directory != '\0' && path.starts_with(directory) &&
           path.compare(std::string_view(directory).size(), 1, "/") == 0 &&
           path.find("/../") == path.npos;
}

/// The value of each character of base64; 64 of one that is none.
constexpr std::uint8_t base64_value(char c) noexcept {
    if (c >= 'A' && c <= 'Z') {
        return static_cast<std::uint8_t>(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return static_cast<std::uint8_t>(c - 'a' + 26);
    }
    if (c >= '0' && c <= '9') {
        return static_cast<std::uint8_t>(c - '0' + 52);
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/// Behind the colon of `user:password`, which is base64; empty where it is none. At most as much as
/// `into` has room for.
std::string_view password_of(std::string_view base64, std::span<char> into) noexcept {
    while (base64.ends_with('=')) {
        base64.remove_suffix(1);
    }
    std::uint32_t bits = 0;
    unsigned count = 0;
    std::size_t size = 0;
    for (const char c : base64) {
        const std::uint8_t value = base64_value(c);
        if (value == 64 || size == into.size()) {
            return {};
        }
        bits = bits << 6 | value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            into[size++] = static_cast<char>(bits >> count & 0xff);
        }
    }
    const std::string_view text(into.data(), size);
    const auto colon = text.find(':');
    return colon == text.npos ? std::string_view() : text.substr(colon + 1);
}

char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// But for capitals.
bool is_same_word(std::string_view one, std::string_view other) noexcept {
    return std::ranges::equal(one, other, {}, lower, lower);
}

} // namespace

std::string credential_path(const std::string& path) {
    constexpr std::string_view prefix = "credential:";
    if (!path.starts_with(prefix)) {
        return path;
    }
    const char* const directory = std::getenv("CREDENTIALS_DIRECTORY");
    if (directory == nullptr || *directory == '\0') {
        throw std::runtime_error(fmt::format(
            "{}: there is no $CREDENTIALS_DIRECTORY: the unit needs LoadCredential={}:/PATH", path,
            path.substr(prefix.size())));
    }
    return fmt::format("{}/{}", directory, path.substr(prefix.size()));
}

/// Nothing is waited for: a FIFO, a terminal or a device is refused.
std::string read_secrets(const std::string& path, std::string_view what) {
    const std::string purpose = fmt::format("cannot read {} from {}", what, path);
    const owned_fd file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));

    struct stat found {};

    if (!file.is_open() || ::fstat(file.fd(), &found) != 0) {
        throw std::system_error(errno, std::generic_category(), purpose);
    }
    if (!S_ISREG(found.st_mode)) {
        throw std::runtime_error(purpose + ": it is no file");
    }
    if (found.st_uid != 0 && found.st_uid != ::geteuid()) {
        throw std::runtime_error(
            fmt::format("{} holds secrets, and is somebody else's, user {}'s, who can change them: "
                        "chown it to root or to user {}",
                        path, found.st_uid, ::geteuid()));
    }
    if ((found.st_mode & 0077) != 0 && !is_credential(path)) {
        throw std::runtime_error(path + " holds secrets, and others may read it: chmod 600 it");
    }
    std::string text;
    char piece[4096];
    for (;;) {
        const ssize_t got = ::read(file.fd(), piece, sizeof(piece));
        if (got < 0) {
            throw std::system_error(errno, std::generic_category(), purpose);
        }
        if (got == 0) {
            return text;
        }
        text.append(piece, static_cast<std::size_t>(got));
    }
}

std::vector<access_token> read_tokens(const std::string& named) {
    const std::string path = credential_path(named);

    std::istringstream file(read_secrets(path, "tokens"));
    std::vector<access_token> tokens;
    unsigned number = 0;
    for (std::string line; std::getline(file, line);) {
        ++number;
        const auto begin = line.find_first_not_of(" \t\r");
        if (begin == line.npos || line[begin] == '#') {
            continue;
        }
        access_token token = token_of(line, fmt::format("{}:{}", path, number));
        for (const access_token& each : tokens) {
            if (each.name == token.name || each.secret == token.secret) {
                throw std::runtime_error(fmt::format(
                    "{}:{}: this name, or this secret, is in a line before already", path, number));
            }
        }
        tokens.push_back(std::move(token));
    }
    if (tokens.empty()) {
        throw std::runtime_error(path + " holds no token: then nobody could send anything");
    }
    return tokens;
}

clock::duration quota::wait_for(std::uint64_t amount, clock::time_point now) noexcept {
    if (rate_ == 0) {
        return {};
    }
    if (now > counted_) {
        const double seconds = std::chrono::duration<double>(now - counted_).count();
        left_ = std::min(most_, left_ + seconds * rate_);
        counted_ = now;
    }
    const double missing = std::min(static_cast<double>(amount), 1.0) - left_;
    if (missing <= 0) {
        return {};
    }
    return std::chrono::duration_cast<clock::duration>(
               std::chrono::duration<double>(missing / rate_)) +
           clock::duration(1);
}

void access_rules::set_tokens(std::vector<access_token> tokens) {
    std::vector<holder> fresh;
    fresh.reserve(tokens.size());
    for (access_token& each : tokens) {
        const auto same = std::ranges::find(holders_, each, &holder::token);
        fresh.push_back(same != holders_.end() ? std::move(*same) : holder(std::move(each)));
    }
    holders_ = std::move(fresh);
}

access_rules::holder* access_rules::find(std::string_view authorization) noexcept {
    const auto space = std::min(authorization.find(' '), authorization.size());
    const std::string_view scheme = authorization.substr(0, space);
    const auto begin = std::min(authorization.find_first_not_of(' ', space), authorization.size());
    std::string_view secret = authorization.substr(begin);
    std::array<char, basic_bytes_max> decoded{};
    if (is_same_word(scheme, "basic") || is_same_word(scheme, "apikey")) {
        secret = password_of(secret, decoded);
    } else if (!is_same_word(scheme, "bearer") && !is_same_word(scheme, "splunk")) {
        return nullptr;
    }
    holder* found = nullptr;
    for (holder& each : holders_) {
        if (is_same_secret(secret, each.token.secret)) {
            found = &each;
        }
    }
    return found;
}

clock::duration access_rules::wait_for(holder& who, std::uint64_t records, std::uint64_t bytes,
                                       clock::time_point now) {
    const clock::duration wait =
        std::max(who.records.wait_for(records, now), who.bytes.wait_for(bytes, now));
    if (wait == clock::duration::zero()) {
        who.records.take(records);
        who.bytes.take(bytes);
    }
    return wait;
}

bool access_rules::is_own_host(std::string_view host) const noexcept {
    if (needs_token()) {
        return true;
    }
    if (host.starts_with('[')) {
        return true; // an IPv6 address, which no name server can give a meaning
    }
    host = host.substr(0, host.rfind(':'));
    const auto is_it = [host](std::string_view name) { return is_same_word(host, name); };
    if (is_it("localhost") || std::ranges::any_of(hosts_, is_it)) {
        return true;
    }
    char text[INET_ADDRSTRLEN] = {};
    in_addr address{};
    if (host.empty() || host.size() >= sizeof(text)) {
        return false;
    }
    host.copy(text, host.size());
    return ::inet_pton(AF_INET, text, &address) == 1;
}

bool may_write(const access_token& token, std::string_view log) noexcept {
    return token.logs.empty() || std::ranges::find(token.logs, log) != token.logs.end();
}

bool is_user(const std::vector<uid_t>& users, uid_t who) noexcept {
    return users.empty() || std::ranges::find(users, who) != users.end();
}

bool is_local(const endpoint& at) {
    if (at.family() == AF_INET) {
        return at.address().starts_with("127.");
    }
    return at.family() == AF_UNIX || at.address() == "::1";
}

} // namespace sapwood::collector
