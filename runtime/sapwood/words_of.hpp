// What a failure says of itself, once: where several places were tried, what() has the reason
// behind each of them, and again behind all.
#pragma once

#include <string>
#include <system_error>

namespace sapwood {

[[nodiscard]] inline std::string words_of(const std::system_error& failure) {
    std::string words = failure.what();
    const std::string again = "): " + failure.code().message(); // (each of them) and all
    if (words.find(again.substr(3)) == words.rfind(again.substr(3))) {
        return words;
    }
    for (auto at = words.find(again); at != words.npos; at = words.find(again, at)) {
        words.erase(at + 1, again.size() - 1);
    }
    return words;
}

} // namespace sapwood
