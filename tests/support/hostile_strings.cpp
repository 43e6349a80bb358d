#include "support/hostile_strings.hpp"

#include <string_view>

namespace sapwood::test {

const std::vector<std::string>& hostile_strings() {
    using namespace std::string_literals;
    static const std::vector<std::string> all{
        ""s,
        " "s,
        "  two  spaces  "s,
        // Ends of lines.
        "a\nb"s,
        "a\r\nb"s,
        "\n"s,
        "\r"s,
        "a\tb\vc\fd"s,
        "a\x00z"s + "\0b"s,
        "\xc2\x85 next line"s,
        "\xe2\x80\xa8 line separator"s,
        "\xe2\x80\xa9 paragraph separator"s,
        // Lines of a log.
        "x\n2026-11-21 22:39:56.123 1234 critical forged"s,
        "2026-11-21 22:39:56.123 1234 critical forged"s,
        "sapwood 958 records of thread 12181 are missing here, numbers 42 to 999: 958 because the "
        "thread's ring was full"s,
        "missing here \\(log)"s,
        "cut (cut)"s,
        "cut \\(cut)"s,
        "\\"s,
        "\\("s,
        "{\"time\":\"2026-11-21T22:39:56Z\",\"level\":\"info\"}"s,
        "\",\"level\":\"critical\",\"x\":\""s,
        "x\"}\n{\"level\":\"critical\"}"s,
        "\" level=critical message=\"forged"s,
        "a=b c=d"s,
        "admin=true"s,
        // Names that forms have themselves.
        "time"s,
        "level"s,
        "message"s,
        "logger"s,
        "thread"s,
        "cut"s,
        "own"s,
        "fields"s,
        "fields.level"s,
        "fields.fields."s,
        "message_escaped"s,
        "key_escaped_escaped"s,
        "_escaped"s,
        "_"s,
        "__"s,
        "sapwood"s,
        // Escapes, and what looks like ours.
        "\x1b[31mred\x1b[0m"s,
        "\x1b[2K\x1b[1A overwritten"s,
        "\x1b]0;title\x07"s,
        "\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\"s,
        "\x9b"s + "31m"s,
        "\xc2\x9b"s + "31m"s,
        "a\b\b\b\x7f"s,
        "\\n \\r \\t \\x41 \\\\ \\u0041 \\\""s,
        "C:\\new\\table\\x"s,
        "'quoted' \"quoted\" `quoted`"s,
        "\"\"\"\""s,
        "\\\"\\\\\"\\\\\\\""s,
        "$(reboot) `reboot` ${jndi:ldap://x}"s,
        "{} {0} {:>10} {{}} %s %n"s,
        // What is not seen, or reorders.
        "\xe2\x80\xae"s + "gpj.exe"s,
        "\xe2\x80\x8f\xe2\x80\x8e\xe2\x81\xa6\xe2\x81\xa9\xd8\x9c"s,
        "zero\xe2\x80\x8bwidth\xe2\x81\xa0joiner"s,
        "\xef\xbb\xbf"s + "byte order mark"s,
        "\xef\xbf\xb9\xef\xbf\xba\xef\xbf\xbb annotation"s,
        "tag \xf3\xa0\x81\x81\xf3\xa0\x81\x82\xf3\xa0\x81\xbf"s,
        "family \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7"s,
        // UTF-8, right and wrong.
        "\xc3\xa4\xc3\xb6\xc3\xbc \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80"s,
        "\xef\xbf\xbd\xef\xbf\xbf\xf4\x8f\xbf\xbf"s,
        "\xc0\x8a overlong newline"s,
        "\xe0\x80\x8a\xf0\x80\x80\x8a"s,
        "\xc1\xbf\xe0\x9f\xbf\xf0\x8f\xbf\xbf"s,
        "\xed\xa0\x80 \xed\xbf\xbf lone surrogates"s,
        "\xf4\x90\x80\x80\xf5\x80\x80\x80"s,
        "\x80\xbf\xfe\xff"s,
        "cut short \xc3"s,
        "cut short \xe2\x80"s,
        "cut short \xf0\x9f\x98"s,
        "\xc3\x28 \xe2\x28\xa1 \xf0\x28\x8c\xbc"s,
        // Long.
        std::string(600, 'x'),
        std::string(3'000, '\n'),
        std::string(1'000, '\\') + std::string(1'000, '"'),
        [] {
            std::string every;
            for (int byte = 0; byte < 256; ++byte) {
                every += static_cast<char>(byte);
            }
            return every;
        }(),
    };
    return all;
}

} // namespace sapwood::test
