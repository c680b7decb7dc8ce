"""The Groovy script of a run for QuPath: it adds the run's objects to the open image, or to every image of a project.

QuPath can read GeoJSON itself. The script also finds the file of an image by the image's name, and moves objects if the
image was opened whole instead of cropped to its scanned area.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from mil_heatmaps.files.atomic import write_text

NAME = "qupath_import.groovy"

_SCRIPT = '''\
// QuPath 0.4 or later. Adds the heatmaps of a run: patches with their scores as measurements, high-attention regions
// and tissue outlines. Afterwards Measure > Show measurement maps colours the patches by any score.

import qupath.lib.io.PathIO
import qupath.lib.objects.PathObjectTools
import java.awt.geom.AffineTransform
import java.util.zip.GZIPInputStream
import groovy.json.JsonSlurper

// The folder of the run's results; change this line when the folder was moved.
def folder = new File(@FOLDER@)
// true: every image of the project is given its objects and saved; false: the open image alone.
def wholeProject = false
// Which map of a slide with several: how the file's name goes on after the slide's, such as "_c_tumour". Empty: all.
def map = ""

if (!folder.isDirectory()) {
    println "There is no folder " + folder + ": change the line that begins with 'def folder'"
    return
}
def files = []
folder.eachFileRecurse(groovy.io.FileType.FILES) { file ->
    if (file.getParentFile().getName() == "exports" && file.getName() ==~ /.*\\.geojson(\\.gz)?/) files << file
}

def open = { file ->
    def stream = new FileInputStream(file)
    return file.getName().endsWith(".gz") ? new GZIPInputStream(stream) : stream
}

// The slide's name, with and without its suffix, and without the series that QuPath adds to the name of a file.
def stemsOf = { names ->
    def stems = []
    names.findAll { it != null }.each { name ->
        [name, name.replaceAll(/ - .*/, "")].each {
            stems << it
            stems << it.replaceAll(/\\.ome\\.tiff?\\z/, "")
            stems << it.replaceAll(/\\.[^.]*\\z/, "")
        }
    }
    return stems.unique()
}

def filesOf = { stems ->
    return files.findAll { file ->
        stems.any { stem ->
            if (!file.getName().startsWith(stem)) return false
            def rest = file.getName().substring(stem.length())
            if (!(rest ==~ /(_[sc]_.*@BAGS@)?\\.geojson(\\.gz)?/)) return false
            return (map.isEmpty() || rest.startsWith(map + ".geojson"))
        }
    }
}

// A file counts as QuPath does by itself, from the scanned area. An image that was opened whole is larger.
def objectsOf = { file, server ->
    def objects = []
    open(file).withCloseable { stream -> objects = PathIO.readObjectsFromGeoJSON(stream) }
    def head = open(file).withCloseable { stream -> new String(stream.readNBytes(4096), "UTF-8") }
    def said = head =~ /"frame":(\\{[^}]*\\})/
    def frame = said.find() ? new JsonSlurper().parseText(said.group(1)) : null
    def slide = frame?.slide_size_l0
    if (slide != null && server.getWidth() == slide[0] && server.getHeight() == slide[1]) {
        def move = AffineTransform.getTranslateInstance(frame.bounds_l0[0] as double, frame.bounds_l0[1] as double)
        objects = objects.collect { PathObjectTools.transformObject(it, move, true) }
    }
    return objects
}

// What an earlier import added goes first: patches with the same measurements, and annotations on the same place.
def addTo = { hierarchy, objects ->
    def keys = objects.findAll { it.isDetection() }.collectMany { it.measurements.keySet() }.toSet()
    def placeOf = {
        def roi = it.getROI()
        return [it.getPathClass()?.toString(), roi.getBoundsX(), roi.getBoundsY(), roi.getArea()]
    }
    def places = objects.findAll { it.isAnnotation() }.collect(placeOf).toSet()
    def earlier = hierarchy.getAllObjects(false).findAll {
        (it.isDetection() && it.measurements.keySet().any { key -> keys.contains(key) }) ||
            (it.isAnnotation() && it.getROI() != null && places.contains(placeOf(it)))
    }
    hierarchy.removeObjects(earlier, true)
    hierarchy.addObjects(objects)
}

def addAll = { imageData, name ->
    def server = imageData.getServer()
    def names = [name, server.getMetadata().getName()]
    server.getURIs().each { names << new File(it.getPath() ?: it.toString()).getName() }
    def found = filesOf(stemsOf(names))
    if (found.isEmpty()) {
        println names[0] + ": nothing of the run belongs to it in " + folder
        return false
    }
    def objects = found.collectMany { objectsOf(it, server) }
    addTo(imageData.getHierarchy(), objects)
    println names[0] + ": " + objects.size() + " objects, of them " + objects.count { it.isTile() } + " tiles, from " +
        found.collect { it.getName() }.join(", ")
    return true
}

if (wholeProject) {
    getProject().getImageList().each { entry ->
        def imageData = entry.readImageData()
        if (addAll(imageData, entry.getImageName())) entry.saveImageData(imageData)
        imageData.getServer().close()
    }
} else {
    addAll(getCurrentImageData(), getProjectEntry()?.getImageName())
    fireHierarchyUpdate()
}
'''


def write_qupath_script(path: Path, results: Path, bags: Sequence[str] = ()) -> None:
    """Write the script that finds the slides' GeoJSON files below `results`.

    If a model takes several bags, `bags` names those after the first. A file may be named by slide and bag alone.
    """
    # In double quotes, Groovy evaluates dollar signs; its other escapes are the same as in JSON.
    folder = json.dumps(str(results.resolve()), ensure_ascii=False).replace("$", "\\$")
    named = "".join(f"|_{re.escape(bag)}" for bag in bags)
    write_text(path, _SCRIPT.replace("@FOLDER@", folder).replace("@BAGS@", named))
