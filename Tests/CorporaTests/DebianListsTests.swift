import Corpora
import Testing

@Suite("Debian lists")
struct DebianListsTests {
    private static let packages = """
        Package: gnuchess
        Source: gnuchess (6.2.9-1)
        Version: 6.2.9-1+b1
        Section: games
        Description: Plays a game of chess
        Description-md5: aaaa

        Package: zope
        Section: zope
        Depends: a,
         b
        Description: web server
        Description-md5: bbbb

        Package: bare
        Section: misc
        Description: nothing more to say
        Description-md5: cccc

        Package: gone
        Description: no translation
        Description-md5: dddd
        """
    private static let translations = """
        Package: gnuchess
        Description-md5: aaaa
        Description-en: Plays a game of chess, either against the user or itself
         Gnuchess is a program
         that plays.
         .
          * one
          * two

        Package: zope
        Description-md5: bbbb
        Description-en: web server
         Zope serves the web.

        Package: bare
        Description-md5: cccc
        Description-en: nothing more to say
        """

    private func corpus() -> [CorpusDocument] {
        var lists = DebianLists()
        lists.addPackages(Array(Self.packages.utf8))
        lists.addTranslations(Array(Self.translations.utf8))
        return lists.corpus().documents
    }

    @Test("joins short and long texts on the description's digest")
    func join() {
        #expect(
            corpus() == [
                CorpusDocument(
                    name: "gnuchess",
                    source: "gnuchess",
                    section: "games",
                    short: "Plays a game of chess",
                    long: "Gnuchess is a program\nthat plays.\n* one\n* two"
                ),
                CorpusDocument(
                    name: "zope",
                    source: "zope",
                    section: "zope",
                    short: "web server",
                    long: "Zope serves the web."
                ),
            ]
        )
    }

    @Test("keeps the first package of a name and leaves out what has no long text")
    func firstWins() {
        var lists = DebianLists()
        lists.addPackages(Array(Self.packages.utf8))
        lists.addPackages(Array("Package: zope\nSection: other\nDescription: x\nDescription-md5: aaaa\n".utf8))
        lists.addTranslations(Array(Self.translations.utf8))
        #expect(lists.packageCount == 4)
        #expect(lists.corpus().documents.map(\.section) == ["games", "zope"])
    }

    @Test("takes the short text from the translation where the package has none")
    func shortFromTranslation() {
        var lists = DebianLists()
        lists.addPackages(Array("Package: a\nDescription-md5: bbbb\n\n\nPackage: b\nDescription-md5: aaaa".utf8))
        lists.addTranslations(Array(Self.translations.utf8))
        #expect(
            lists.corpus().documents.map(\.short) == [
                "web server", "Plays a game of chess, either against the user or itself",
            ]
        )
    }
}
