#include "queue_options.hpp"

#include "access.hpp"

#include <fmt/format.h>
#include <iterator>
#include <stdexcept>
#include <unistd.h>

namespace sapwood::collector {

std::string broker_url(const std::string& text) {
    if (text.find("://") != text.npos) {
        return text;
    }
    if (text.find_first_of("@:") != text.npos && !text.starts_with("credential:") &&
        ::access(text.c_str(), F_OK) != 0) {
        throw std::invalid_argument("a broker is a URL, which begins with amqp:// or amqps://, or "
                                    "a file that is there; what was given is neither, and is not "
                                    "shown, as it may hold a password");
    }
    const std::string path = credential_path(text);
    const std::string file = read_secrets(path, "a URL");
    std::string url = file.substr(0, file.find_first_of("\r\n"));
    if (url.find("://") == url.npos) {
        throw std::invalid_argument(
            fmt::format("{}: its first line is to be the broker's URL, amqp://...", path));
    }
    return url;
}

std::string as_word(std::string_view text) {
    constexpr std::string_view plain = "._-/:@+";
    std::string word;
    for (const char c : text) {
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            plain.find(c) != plain.npos) {
            word += c;
        } else {
            fmt::format_to(std::back_inserter(word), "%{:02x}", static_cast<unsigned char>(c));
        }
    }
    return word;
}

} // namespace sapwood::collector
